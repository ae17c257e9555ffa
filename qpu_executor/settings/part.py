"""What every part of a site file shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]


class Part(BaseModel):
    """A part of the site file that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
