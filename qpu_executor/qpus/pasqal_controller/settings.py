"""What a site file may say about a QPU of kind `pasqal-controller`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from qpu_executor.qpus.adapter_settings import AdapterSettings, read_settings

API_PATH = "/api/v1"
"""Where the controller's API lives, if `url` names no path of its own."""

Seconds = Annotated[float, Field(gt=0, le=1e6)]


class ControllerSettings(AdapterSettings):
    """Settings of a controller's adapter. Durations are seconds of real time.

    `url`: of the controller, with the API's path where that isn't `/api/v1`. `headers`: sent
    with every request. `token_file`: holds a bearer token; read again when the controller
    refuses it. `ca_file`: certificates (PEM) to believe in, instead of the system's.
    `answer_s`: what an answer may take; `accept_s`: the answer to a new job. `silence_s`:
    how long a running job may go without an answer before the manager is told.
    `specs_every_s`: how old the device's specification may be when a chunk is sent.
    `shot_rate_hz`: expected, until it is measured. `setup_s`: expected before a chunk's
    first shot. `overdue_s`: a job that runs this much longer than expected is cancelled.
    `lost_after_s`: a job whose acceptance nobody saw, and that the controller doesn't
    show this long afterwards, has never reached it (None: an operator decides).
    `partial_results`: a cancelled job gives the shots that it took.
    """

    url: str
    headers: dict[str, str] = {}
    token_file: Path | None = None
    ca_file: Path | None = None
    answer_s: Seconds = 5.0
    accept_s: Seconds = 30.0
    silence_s: Seconds = 10.0
    specs_every_s: Seconds = 30.0
    shot_rate_hz: Annotated[float, Field(ge=0.001, le=1e5)] | None = None
    setup_s: Annotated[float, Field(ge=0, le=1e5)] = 0.0
    overdue_s: Seconds = 600.0
    lost_after_s: Seconds | None = None
    partial_results: bool = False

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("an address such as http://controller:4300")
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError(f"{name!r} can't be the name of a header")
            if not text.isprintable():
                raise ValueError(f"the value of {name!r} must be one line of text")
        return value

    @property
    def base_url(self) -> str:
        """Address of the API, without a slash at its end."""
        given = self.url.rstrip("/")
        return given if urlsplit(given).path else given + API_PATH

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> ControllerSettings:
        """Settings of QPU `name`. Raises ConfigError with the key and what it must be."""
        return read_settings(cls, name, given)
