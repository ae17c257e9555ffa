"""Where a manager listens: the one place that reads its URL. No I/O.

Two forms: `unix:///absolute/path.sock` (this host), and `https://HOST:PORT` or
`http://HOST:PORT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from qpu_executor.errors import ConfigError

EXAMPLES = "unix:///run/qpu/manager.sock, http://127.0.0.1:8080 or https://qpu.site:8443"


@dataclass(frozen=True, slots=True)
class Address:
    """A manager's address. `socket_path`: of a unix socket, None for TCP; `base`: for requests."""

    url: str
    base: str
    socket_path: str | None = None


def parse_address(text: str, *, where: str = "manager") -> Address:
    """Read a manager's URL; `where` says in an error which setting it came from.

    Raises ConfigError for anything but the two forms.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(text, where, str(error)) from None
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
            raise _bad(text, where, "a unix socket needs an absolute path: unix:///path")
        return Address(url=f"unix://{parts.path}", base="http://manager", socket_path=parts.path)
    if parts.scheme not in ("http", "https"):
        raise _bad(text, where, f"no scheme {parts.scheme!r}" if parts.scheme else "no scheme")
    if not parts.hostname:
        raise _bad(text, where, "no host")
    if parts.username or parts.query or parts.fragment:
        raise _bad(text, where, "only a host, a port and a path are understood")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
    return Address(url=base, base=base)


def _bad(text: str, where: str, why: str) -> ConfigError:
    return ConfigError(
        f"{text!r} is no address of a manager ({why})", where=where, expected=EXAMPLES
    )
