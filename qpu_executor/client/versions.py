"""A client and a manager of different versions: do they fit, and what to say where not. No I/O."""

from __future__ import annotations

from qpu_executor import __version__
from qpu_executor.client.problems import Reply, error_in
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.errors import CallerError, ManagerUnreachable, QpuExecutorError, RequestRefused
from qpu_executor.wire.site import HealthOut
from qpu_executor.wire.versions import SPOKEN, in_words, newest_common


def misfit(hello: HealthOut, url: str) -> ManagerUnreachable | None:
    """Why this client can't talk to the manager, with both versions; None: it can."""
    if newest_common(SPOKEN, hello.api_versions) is not None:
        return None
    theirs = f"{in_words(hello.api_versions)} (qpu-executor {hello.version})"
    if hello.api_versions and min(hello.api_versions) > max(SPOKEN):
        message = "this client is too old for the manager"
        step = f"install the manager's version here: pip install 'qpu-executor=={hello.version}'"
    else:
        message = "this client is too new for the manager"
        step = (
            f"install the manager's version here (pip install 'qpu-executor=={hello.version}'), "
            "or ask the site's operators for a newer manager"
        )
    return ManagerUnreachable(
        f"{message}: that speaks API version {theirs}",
        where=url,
        expected=f"API version {in_words(SPOKEN)}, which this client speaks "
        f"(qpu-executor {__version__})",
        next_step=step,
    )


_NO_SUCH_ROUTE = ((404, "Not Found"), (405, "Method Not Allowed"))
_NO_SUCH_OPTION = "unknown field"


def refusal(
    reply: Reply, request: ApiRequest, url: str, manager_version: str
) -> QpuExecutorError | None:
    """The error that a reply carries; None for a success.

    This client sends no route and no option that a manager of its own version doesn't know:
    one that refuses them is older, and it is said so. `manager_version`: empty where unknown.
    """
    error = error_in(reply, url)
    if error is None:
        return None
    named = f"the manager (qpu-executor {manager_version or 'of an unknown version'})"
    step = "do without it, or ask the site's operators for a newer manager"
    if type(error) is CallerError and (reply.status, error.message) in _NO_SUCH_ROUTE:
        path = request.path.partition("?")[0]
        return CallerError(
            f"{named} is older than this client ({__version__}): it has no {request.method} {path}",
            where=url,
            next_step=step,
        )
    if isinstance(error, RequestRefused) and _NO_SUCH_OPTION in error.message:
        error.message = f"{named} is older than this client ({__version__}): {error.message}"
        error.next_step = step
    return error
