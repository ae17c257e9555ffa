"""Checks of the files that a manager is served with, before anything is opened."""

from __future__ import annotations

import ssl
from pathlib import Path

from qpu_executor.errors import ConfigError
from qpu_executor.settings import StoreSettings, state_directory
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


def check_password_file(path: Path) -> None:
    """Raises ConfigError for a file that isn't there or that others can read."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where="manager.store.password_file")
    refuse_readable_by_others(path, "password file")


def placed(store: StoreSettings) -> StoreSettings:
    """With a path or URL, and with the directory for QPUs' files, where the site says neither."""
    ours = state_directory() / "served"
    if store.url is None and store.path is None:
        store = store.model_copy(update={"path": ours / "store.sqlite"})
    if store.directory is None:
        beside = ours if store.path is None else store.path.parent
        store = store.model_copy(update={"directory": beside})
    return store
