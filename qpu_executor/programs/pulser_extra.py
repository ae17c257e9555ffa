"""Where Pulser enters: imported on first use, so that everything else works without it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from qpu_executor.errors import ConfigError


def import_pulser() -> ModuleType:
    """The `pulser` package. Raises ConfigError (with what to install) where it is missing."""
    try:
        import pulser
        import pulser.abstract_repr
        import pulser.backend
        import pulser.sampler
    except ImportError as error:
        raise ConfigError(
            f"Pulser can't be imported ({error})",
            next_step="pip install 'qpu-executor[pulser]'",
        ) from None
    module: ModuleType = pulser
    return module


def import_pulser_quietly() -> None:
    """Import Pulser and give nothing back: to be called in a worker, ahead of time."""
    import_pulser()


@contextmanager
def pulser_advice_silenced() -> Iterator[None]:
    """Without Pulser's warnings to the author of a sequence, who isn't here to read them.

    Whatever makes a program impossible is refused by a rule; the rest (rounded
    durations, say) was said when the sequence was written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
