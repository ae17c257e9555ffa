"""How the SDK `pasqal-cloud` talks to the cloud here: each request once, and no guessing.

The SDK repeats a request that was answered 408, 425, 429, 500, 502 or 504 up to five
times, POST included, with pauses of 2 to 32 s in the calling thread; a batch that was
made behind a lost answer would be made again and again. So its HTTP session gets an
adapter (the extension point of `requests`) that turns every answer
which isn't a plain success into one of our errors, which nobody repeats. It also gives
every request a timeout, downloads included.

Imported only where the SDK is installed.
"""

from __future__ import annotations

from typing import Any

import requests
from pasqal_cloud.authentication import (
    PasswordGrantTokenProvider,
    TokenProvider,
    TokenProviderError,
)
from pasqal_cloud.endpoints import TokenProviderConf
from pasqal_cloud.http_client import HTTPClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from qpu_executor.qpus.job_service import (
    ComeBackLaterError,
    CredentialsError,
    JobRefusedError,
    JobServiceError,
    NoSuchJobError,
    NotSentError,
    UnclearError,
)
from qpu_executor.qpus.secret_files import read_secret

_UNCLEAR = frozenset({408, 425})


class OneRequest(HTTPAdapter):
    """`core_url`: requests there carry our token; timeouts in seconds."""

    def __init__(self, core_url: str, connect_timeout_s: float, read_timeout_s: float) -> None:
        super().__init__()
        self._core_url = core_url
        self._timeouts = (connect_timeout_s, read_timeout_s)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request once. Raises JobServiceError for all but a success that is JSON."""
        try:
            response = super().send(request, stream, self._timeouts, verify, cert, proxies)
            content = response.content
        except requests.RequestException as error:
            raise _no_answer(error, str(request.url)) from None
        if 300 <= response.status_code < 400:
            return response
        if response.status_code < 300:
            _require_json(response, content)
            return response
        ours = str(request.url).startswith(self._core_url)
        raise _refused(str(request.method), response, with_token=ours)


class OneRequestClient(HTTPClient):
    """The SDK's client, with this transport in its session; `options`: the SDK's own."""

    def __init__(self, transport: OneRequest, **options: Any) -> None:
        super().__init__(**options)
        self.session.mount("https://", transport)
        self.session.mount("http://", transport)


class TokenFromFile(TokenProvider):
    """A token that something else renews: the file is read for every request."""

    def __init__(self, path: str, where: str) -> None:
        super().__init__()
        self._path = path
        self._where = where

    def get_token(self) -> str:
        """What the file holds. Raises ConfigError."""
        return read_secret(self._path, self._where)


class TokenForPassword(TokenProvider):
    """A token in exchange for a password, asked for when it is first needed."""

    def __init__(self, username: str, password: str, config: TokenProviderConf) -> None:
        super().__init__()
        self._login = (username, password, config)
        self._provider: PasswordGrantTokenProvider | None = None

    def get_token(self) -> str:
        """A token that is valid now. Raises CredentialsError or NotSentError."""
        try:
            if self._provider is None:
                self._provider = PasswordGrantTokenProvider(*self._login)
            return self._provider.get_token()
        except TokenProviderError as error:
            raise CredentialsError(f"Pasqal Cloud refuses the login: {error}") from None
        except (requests.RequestException, KeyError, ValueError) as error:
            raise NotSentError(
                f"no token can be had from {self._login[2].token_endpoint}: {_short(error)}"
            ) from None


def _no_answer(error: requests.RequestException, url: str) -> JobServiceError:
    # What never had a connection never sent a request.
    cause: BaseException | None = error
    for _ in range(6):
        if isinstance(cause, NewConnectionError | ConnectTimeoutError | requests.ConnectTimeout):
            return NotSentError(f"{url} can't be reached: {_short(error)}")
        if cause is None:
            break
        inner = cause.args[0] if cause.args else None
        reason = getattr(cause, "reason", None)
        cause = next((one for one in (reason, inner) if isinstance(one, BaseException)), None)
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return NotSentError(f"{url} can't be reached: {_short(error)}")
    return UnclearError(f"no answer from {url}: {_short(error)}")


def _require_json(response: requests.Response, content: bytes) -> None:
    try:
        response.json()
    except ValueError:
        kind = response.headers.get("content-type", "unknown")
        start = content[:60].decode("utf-8", "replace")
        raise UnclearError(
            f"{response.url} answered {response.status_code} with {kind}, not JSON: {start!r}"
        ) from None


def _refused(method: str, response: requests.Response, *, with_token: bool) -> JobServiceError:
    status, text = response.status_code, _reason(response)
    said = f"Pasqal Cloud answered {status}: {text}"
    if status in (401, 402, 403) and with_token:
        return CredentialsError(f"{said}; renew the token, or see to the project's rights")
    if status == 404:
        return NotSentError(said) if method == "POST" else NoSuchJobError(said)
    if status == 429:
        return ComeBackLaterError(said, _retry_after_s(response))
    if status >= 500 or status in _UNCLEAR or method != "POST":
        return UnclearError(said)
    return JobRefusedError(said)


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds; None where the header is missing, or gives a date."""
    said = response.headers.get("retry-after", "")
    return min(float(said), 3600.0) if said.isdigit() else None


def _reason(response: requests.Response) -> str:
    try:
        found = response.json()
    except ValueError:
        return response.reason or "no reason is given"
    if not isinstance(found, dict):
        return response.reason or "no reason is given"
    data = found.get("data")
    told = data.get("description") if isinstance(data, dict) else None
    return str(told or found.get("message") or response.reason)[:500]


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
