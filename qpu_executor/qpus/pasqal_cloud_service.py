"""Pasqal Cloud as a `JobService`, through the SDK `pasqal-cloud`.

A chunk is a batch with one job. The batch bears two tags: the chunk's name, by which it
is found again, and what was ordered. Each batch takes a place in the cloud's own queue.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from qpu_executor.errors import ConfigError, PluginRefused, QpuExecutorError
from qpu_executor.model.states import QpuState
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.base import ChunkOrder, DeviceDescription
from qpu_executor.qpus.job_service import (
    FoundJob,
    JobName,
    JobProgress,
    JobServiceError,
    JobState,
    NoSuchJobError,
    ServiceHealth,
    UnclearError,
)
from qpu_executor.qpus.pasqal_cloud_settings import PasqalCloudSettings
from qpu_executor.qpus.secret_files import read_secret

if TYPE_CHECKING:
    from pasqal_cloud.http_client import HTTPClient

log = logging.getLogger(__name__)
R = TypeVar("R")

LIMITS: Mapping[str, str] = {
    "partial_results": "the API gives results of jobs that are done; a cancelled job has none",
    "can_calibrate": "the API has no request for a calibration",
    "seeded": "neither hardware nor the cloud's emulators take a seed with a job",
    "calibration": "neither batches nor jobs say which calibration they ran under",
    "send_ahead": "each batch waits in the cloud's own queue; `slots` above 1 sends more at once",
}
"""Capabilities that aren't declared, and the vendor's limit behind each."""

_ORDERED = "order:"
_STATES = {
    "PENDING": JobState.WAITING,
    "PAUSED": JobState.WAITING,
    "RUNNING": JobState.RUNNING,
    "CANCELING": JobState.RUNNING,
    "DONE": JobState.DONE,
    "CANCELED": JobState.CANCELLED,
    "ERROR": JobState.FAILED,
    "TIMED_OUT": JobState.FAILED,
}
_ENDED = (JobState.DONE, JobState.CANCELLED, JobState.FAILED)


class PasqalCloudService:
    """`where`: for messages. The SDK is loaded by `open`."""

    searchable = True
    kinds = frozenset({PULSER})
    limits = LIMITS

    def __init__(self, where: str, settings: PasqalCloudSettings) -> None:
        self._where = where
        self._settings = settings
        self._client: HTTPClient | None = None
        self._versions: dict[str, str] = {}

    @property
    def emulated(self) -> bool:
        """By the cloud's naming of its emulators."""
        return self._settings.device_type.startswith("EMU")

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the SDK."""
        return self._versions

    def open(self) -> None:
        """Load the SDK and make its client; nothing is sent. Raises OperatorError."""
        try:
            with warnings.catch_warnings():  # the SDK changes the filters of the whole process
                self._client = self._make_client()
        except ImportError as error:
            raise PluginRefused(
                f"the SDK pasqal-cloud can't be imported: {error}",
                where=self._where,
                next_step="pip install 'qpu-executor[pasqal-cloud]'",
            ) from None
        self._versions = {"pasqal-cloud": version("pasqal-cloud")}

    def close(self) -> None:
        """Close the HTTP session."""
        client, self._client = self._client, None
        if client is not None:
            client.session.close()

    def device(self) -> DeviceDescription:
        """The device of the settings: the cloud's, Pulser's, or a file's."""
        wanted = self._settings.device or self._settings.device_type
        text = self._ask(self._opened().get_device_specs_dict).get(wanted)
        if text is None:
            if self._settings.device is None:
                raise ConfigError(
                    f"the cloud has no device specifications for {wanted}",
                    where=f"{self._where}: device",
                    expected="the device that programs are to be built for",
                )
            text = device_json(self._settings.device)
        return DeviceDescription(_device_name(text), text)

    def health(self) -> ServiceHealth:
        """UP where the API takes our token: the cloud queues jobs whatever its QPU does."""
        from pasqal_cloud.utils.filters import BatchFilters, PaginationParams

        filters = BatchFilters(device_type=self._settings.device_type)
        self._ask(self._opened().get_batches, filters, PaginationParams(limit=1))
        return ServiceHealth(QpuState.UP)

    def refuse(self, program: Program, shots: int) -> None:
        """Nothing beyond its device's rules."""

    def find(self, name: JobName) -> FoundJob | None:
        """The oldest batch with the name; any other one of that name is cancelled."""
        from pasqal_cloud.utils.filters import BatchFilters, PaginationParams

        page = self._ask(self._opened().get_batches, BatchFilters(tag=name.tag), PaginationParams())
        batches = self._ask(_named, page, name.tag)
        if not batches:
            return None
        for surplus in batches[1:]:
            log.error("%s: batch %s is a second %s", self._where, surplus["id"], name.tag)
            if _STATES.get(surplus["status"]) not in _ENDED:
                self.cancel(surplus["id"])
        marks = [tag for tag in batches[0]["tags"] if tag.startswith(_ORDERED)]
        return FoundJob(batches[0]["id"], marks[0].removeprefix(_ORDERED) if marks else None)

    def send(self, order: ChunkOrder, name: JobName) -> str:
        """One batch with one job, closed."""
        client = self._opened()
        self._ask(client.user_token)  # without a token nothing is sent: know that apart
        batch = {
            "sequence_builder": order.program.content,
            "jobs": [{"runs": order.shots}],
            "open": False,
            "device_type": self._settings.device_type,
            "tags": [name.tag, f"{_ORDERED}{name.order_mark}"],
        }
        return str(self._ask(lambda: client.send_batch(batch)["id"]))

    def progress(self, handle: str) -> JobProgress:
        """The batch's state, and its job's once that has ended."""
        client = self._opened()
        state = self._state(self._ask(lambda: client.get_batch_status(handle)["status"]))
        if state not in _ENDED:
            return JobProgress(state)
        job = self._job(handle)
        state = self._state(job.get("status"))
        if state not in _ENDED:
            return JobProgress(state)
        created, started, ended = (
            _instant(job.get(key)) for key in ("created_at", "start_timestamp", "end_timestamp")
        )
        return JobProgress(
            state,
            device_s=None if started is None or ended is None else ended - started,
            setup_s=None if started is None or created is None else started - created,
            message="; ".join(map(str, job.get("errors") or ())),
        )

    def counts(self, handle: str) -> Mapping[str, int]:
        """The counter of the batch's only job, downloaded from where the cloud keeps it."""
        job_id = str(self._job(handle).get("id"))
        result = self._ask(self._opened().get_job_results, job_id)
        counter = None if result is None else result.get("counter")
        if not isinstance(counter, dict):
            raise UnclearError(f"the result of batch {handle} isn't there yet, or holds no counter")
        return self._ask(lambda: {str(bits): int(times) for bits, times in counter.items()})

    def cancel(self, handle: str) -> None:
        """Cancel the batch."""
        self._ask(self._opened().cancel_batch, handle)

    def _job(self, handle: str) -> dict[str, Any]:
        jobs = self._ask(self._opened().get_batch_jobs, handle)
        if not jobs:
            raise NoSuchJobError(f"batch {handle} has no job")
        return self._ask(dict, jobs[0])

    def _state(self, said: Any) -> JobState:
        if said not in _STATES:
            raise UnclearError(f"Pasqal Cloud says {said!r}, which is no state of a job")
        return _STATES[said]

    def _ask(self, call: Callable[..., R], *arguments: Any) -> R:
        """A call of the SDK; whatever it makes of an answer that lies is unclear."""
        try:
            return call(*arguments)
        except (JobServiceError, QpuExecutorError):
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"[:300]
            raise UnclearError(f"the SDK can't read the answer: {said}") from None

    def _opened(self) -> HTTPClient:
        if self._client is None:
            raise UnclearError("the SDK isn't open")
        return self._client

    def _make_client(self) -> HTTPClient:
        from pasqal_cloud.endpoints import Endpoints, TokenProviderConf

        from qpu_executor.qpus import pasqal_cloud_transport as transport

        settings = self._settings
        endpoints = Endpoints.from_region(settings.region)
        endpoints.core = (settings.core_url or endpoints.core).rstrip("/")
        endpoints.account = (settings.account_url or endpoints.account).rstrip("/")
        config = TokenProviderConf.from_region(settings.region)
        config.token_endpoint = settings.auth_url or config.token_endpoint
        one_request = transport.OneRequest(
            endpoints.core, settings.connect_timeout_s, settings.read_timeout_s
        )
        provider: Any
        if settings.token_file is not None:
            provider = transport.TokenFromFile(settings.token_file, f"{self._where}: token_file")
        else:
            provider = transport.TokenForPassword(*self._login(), config)
        return transport.OneRequestClient(
            one_request,
            token_provider=provider,
            endpoints=endpoints,
            project_id=settings.project_id,
        )

    def _login(self) -> tuple[str, str]:
        settings = self._settings
        username = settings.username or os.environ.get("PASQAL_USERNAME")
        if settings.password_file is not None:
            password: str | None = read_secret(
                settings.password_file, f"{self._where}: password_file"
            )
        else:
            password = os.environ.get("PASQAL_PASSWORD")
        if not username or not password:
            raise ConfigError(
                "nothing says who we are at Pasqal Cloud",
                where=self._where,
                expected="token_file, or username and password_file, in the site file; or "
                "PASQAL_USERNAME and PASQAL_PASSWORD in the manager's environment",
            )
        return username, password


def _instant(text: str | None) -> float | None:
    """Unix seconds of a timestamp of the API, or None for what isn't one."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _device_name(text: str) -> str:
    try:
        return str(json.loads(text)["name"])
    except (ValueError, KeyError, TypeError):
        raise UnclearError("the cloud's device specifications can't be read") from None


def _named(page: Mapping[str, Any], tag: str) -> list[dict[str, Any]]:
    """The batches of a page that bear a tag, the oldest first; a filter isn't trusted."""
    batches = [dict(one) for one in page["data"] if tag in (one.get("tags") or ())]
    return sorted(batches, key=lambda one: str(one["created_at"]))
