"""What every part of a site file shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from qpu_executor.wire.policy import Name

__all__ = ["Name", "Part"]


class Part(BaseModel):
    """A part of the site file that knows all its keys; its numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
