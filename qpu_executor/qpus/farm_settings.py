"""What a site file may say about a QPU of kind `emulator-farm`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from qpu_executor.errors import ConfigError
from qpu_executor.qpus.adapter_settings import AdapterSettings, read_settings

Wait = Annotated[float, Field(gt=0, le=86400)]


class FarmSettings(AdapterSettings):
    """Where the farm is. `url`, or `address_file`: a file in which the farm writes its URL.

    `token_file`: needed for `http://`. `answer_s`: how long an answer may take.
    `forget_after_s`: after how long without an answer the farm's chunks count as lost.
    """

    url: str | None = None
    address_file: Path | None = None
    token_file: Path | None = None
    answer_s: Wait = 10.0
    forget_after_s: Wait = 60.0

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> FarmSettings:
        """Settings of QPU `name`. Raises ConfigError with the key and what it must be."""
        found = read_settings(cls, name, given)
        if (found.url is None) == (found.address_file is None):
            raise ConfigError(
                "either url or address_file says where the farm is",
                where=f"qpus.{name}",
                expected="url: unix:///path.sock or http://host:port; or address_file: /path",
                next_step="start a farm: qpu farm serve --config configs/farm.yaml",
            )
        if found.url is not None:
            refuse_bad_url(found.url, found.token_file is not None, f"qpus.{name}.url")
        return found


def refuse_bad_url(url: str, has_token: bool, where: str) -> None:
    """Raises ConfigError for a URL that no farm can have, or that needs a token."""
    parts = urlsplit(url)
    unix = parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc
    if not unix and not (parts.scheme == "http" and parts.hostname):
        raise ConfigError(
            f"{url!r} is no address of a farm",
            where=where,
            expected="unix:///absolute/path.sock or http://host:port",
        )
    if not unix and not has_token:
        raise ConfigError(
            f"{url} needs a token: everybody on the network can connect to it",
            where=where.rsplit(".", 1)[0] + ".token_file",
            expected="the path of the farm's token file (mode 0600)",
        )
