"""Checks of the files that a manager is served with, before anything is opened."""

from __future__ import annotations

import ssl

from qpu_executor.errors import ConfigError
from qpu_executor.settings.safe_files import (
    refuse_readable_by_others,
    refuse_writable_by_others,
)
from qpu_executor.settings.security import TlsSettings


def check_tls(tls: TlsSettings) -> None:
    """Raises ConfigError for files that aren't there or aren't safe."""
    for path in (tls.certificate, tls.key):
        if not path.is_file():
            raise ConfigError(f"there is no file {path}", where="manager.tls")
    refuse_writable_by_others(tls.certificate, "certificate")
    refuse_readable_by_others(tls.key, "key")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls.certificate, tls.key
        )
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"this certificate and key can't be used: {error}",
            where="manager.tls",
            expected="PEM files that belong together",
        ) from None
