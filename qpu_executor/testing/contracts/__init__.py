"""The suites that every extension has to pass, ours and yours, for pytest.

`policy` tries every policy that is installed. `authenticator` and `qpu` need to know how
yours is built: import all of their names into a test file of your own and say it there, in
the fixture `case` or `make`.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("authenticator", "policy", "qpu", "qpu_closing"))
)
