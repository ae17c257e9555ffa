"""The site file's part about overload: how much callers may ask at once."""

from __future__ import annotations

from pydantic import Field

from qpu_executor.manager.api.limits import MIB, Limits
from qpu_executor.settings.part import Part


class LimitsSettings(Part):
    """See `Limits`. Beyond a caller's own there is a 429, beyond the manager's a 503."""

    max_body_bytes: int = Field(default=32 * MIB, ge=65_536, le=1024 * MIB)
    max_bodies_bytes: int = Field(default=256 * MIB, ge=65_536)
    max_requests: int = Field(default=4000, ge=1)
    requests_per_caller: int = Field(default=256, ge=1)
    max_connections: int = Field(default=10_000, ge=16)
    connections_per_caller: int = Field(default=2500, ge=1)
    max_event_streams: int = Field(default=8000, ge=1)
    event_streams_per_caller: int = Field(default=1000, ge=1)
    request_s: float = Field(default=60.0, gt=0, le=3600)
    answer_s: float = Field(default=60.0, gt=0, le=3600)

    def limits(self) -> Limits:
        """As the API sees them."""
        return Limits(**self.model_dump())
