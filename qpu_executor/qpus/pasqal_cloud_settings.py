"""What a site file may say about a QPU of kind `pasqal-cloud`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qpu_executor.qpus.job_service_settings import JobServiceSettings, Seconds

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$", max_length=500)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class PasqalCloudSettings(JobServiceSettings):
    """Beside the settings of any service:

    `device_type`: where jobs run (FRESNEL, EMU_FREE, ...). `device`: the device that
    programs have to be built for: one of the cloud's, one of Pulser's, or the path of a
    .json file (default: that of `device_type`). `project_id`: whom jobs are charged
    to. `token_file`, or `username` and `password_file`: who we are; without any of
    them, the environment's PASQAL_USERNAME and PASQAL_PASSWORD. `region`, `core_url`,
    `account_url`, `auth_url`: where the cloud is (default: the SDK's own). `connect_timeout_s`,
    `read_timeout_s`: of each request, instead of the SDK's 30 s.
    """

    device_type: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
    project_id: Text
    device: Text | None = None
    token_file: Text | None = None
    username: Text | None = None
    password_file: Text | None = None
    region: Literal["fr", "sa"] | None = None
    core_url: Url | None = None
    account_url: Url | None = None
    auth_url: Url | None = None
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 40.0

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token_file is not None and self.username is not None:
            raise ValueError("give either token_file or username, not both")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")
        return self
