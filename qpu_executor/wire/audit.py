"""The audit log on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from qpu_executor.wire.tasks import Answer


class AuditEntryOut(Answer):
    """What somebody did with a role of theirs, or was turned away from."""

    n: int = Field(description="its number in the journal")
    at: datetime
    who: str | None = Field(description="null: nobody knows")
    uid: int | None
    how: str = Field(description="what proved it")
    origin: str = Field(description="the host that asked; empty: not known")
    role: str | None = Field(description="`operator` or `service`, where it took one")
    what: str
    about: dict[str, Any] = Field(description="on whom or what")
    outcome: str = Field(description="`done`, or why it was refused")


class AuditList(Answer):
    """Entries, the newest first. `before`: where to go on; null: that was all."""

    entries: list[AuditEntryOut]
    before: int | None
