"""The tables, as this version of the code reads and writes them.

A column is named like the field of its record in `records`. Instants are
microseconds (64 bits), lists and mappings are JSON in text columns, states are
their words. The migrations build these tables; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy import Text as PlainText

from qpu_executor.manager.store.escaped_text import EscapedText
from qpu_executor.model.states import FINAL_TASK_STATES, TaskState

metadata = MetaData()

# Two things in here differ between databases. Only an INTEGER key is SQLite's row id.
Number = BigInteger().with_variant(Integer(), "sqlite")

Text = PlainText().with_variant(EscapedText(), "postgresql")
"""Text of any characters; PostgreSQL's own has no NUL."""

LIVE_STATES = tuple(state for state in TaskState if state not in FINAL_TASK_STATES)

EXPIRABLE = "ended_at IS NOT NULL AND expired_at IS NULL"
"""Tasks that have ended and still have all that they left; spelt out as `LIVE` is."""

LIVE = "state IN (" + ", ".join(f"'{state.value}'" for state in LIVE_STATES) + ")"
"""Spelt out, not bound: the partial index is used only where its condition is seen."""

meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("commits", BigInteger, nullable=False),
    Column("restored_below", BigInteger, nullable=False),
)
"""One row (id 1). `commits`: transactions of the writer so far. `restored_below`: ids of tasks
that a restored backup knew (see `restored`)."""

programs = Table(
    "programs",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("atoms", Integer),
    Column("duration_ns", BigInteger),
    Column("layout", Text),
    Column("qubit_ids", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("ends_at", BigInteger),
    Column("hints", Text, nullable=False),
    Column("uid", BigInteger),
    Column("slurm", Text, nullable=False),
    Column("lease_s", Float),
    Column("idle_s", Float),
    Column("expires_at", BigInteger),
    Column("on_close", Text),
    Column("on_lost", Text),
    Column("lost_at", BigInteger),
    Column("closed_because", Text, nullable=False),
    Column("job_class", Text),
    UniqueConstraint("owner", "key", name="uq_sessions_owner_key"),
)
Index("ix_sessions_owner_opened_at", sessions.c.owner, sessions.c.opened_at)
Index(
    "ix_sessions_open",
    sessions.c.opened_at,
    sqlite_where=text("closed_at IS NULL"),
    postgresql_where=text("closed_at IS NULL"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("session_id", Text, ForeignKey("sessions.id", name="fk_tasks_session_id")),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("job_class", Text, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("shots_done", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column(
        "program_hash",
        Text,
        ForeignKey("programs.hash", name="fk_tasks_program_hash"),
        nullable=False,
    ),
    Column("qpu_asked", Text),
    Column("qpus", Text, nullable=False),
    Column("divisible", Boolean, nullable=False),
    Column("key", Text),
    Column("key_origin", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("qpu", Text),
    Column("error", Text),
    Column("error_code", Text),
    Column("permanent", Boolean, nullable=False),
    Column("cancel_asked", Boolean, nullable=False),
    Column("hold_asked", Boolean, nullable=False),
    Column("layout", Text),
    Column("wishes", Text, nullable=False),
    Column("stopped_early", Text),
    Column("held_because", Text, nullable=False),
    Column("expired_at", BigInteger),
    UniqueConstraint("owner", "key", "generation", name="uq_tasks_owner_key_generation"),
)
Index("ix_tasks_owner", tasks.c.owner, tasks.c.id)
Index("ix_tasks_session_id", tasks.c.session_id, tasks.c.id)
Index("ix_tasks_program_hash", tasks.c.program_hash, tasks.c.owner)
Index(
    "ix_tasks_live",
    tasks.c.id,
    tasks.c.session_id,
    sqlite_where=text(LIVE),
    postgresql_where=text(LIVE),
)
Index(
    "ix_tasks_expirable",
    tasks.c.ended_at,
    sqlite_where=text(EXPIRABLE),
    postgresql_where=text(EXPIRABLE),
)

chunks = Table(
    "chunks",
    metadata,
    Column("task_id", Number, ForeignKey("tasks.id", name="fk_chunks_task_id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("qpu", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("emulated", Boolean, nullable=False),
    Column("first_shot", BigInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("shots_counted", BigInteger, nullable=False),
    Column("surplus", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    Column("epoch", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("setup_s", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("discarded", Boolean, nullable=False),
    Column("charged_s", Float, nullable=False),
)
Index(
    "ix_chunks_ended_at",
    chunks.c.ended_at,
    sqlite_where=text("ended_at IS NOT NULL"),
    postgresql_where=text("ended_at IS NOT NULL"),
)

RECALLED = "kind IN ('QpuDrained', 'QpuResumed', 'SaveHold')"
"""Journal rows that a restart reads; spelt out for the same reason as `LIVE`."""

AUDITED_KINDS = (
    "OperatorAsked",
    "TokenIssued",
    "TokenRevoked",
    "SessionOpenedFor",
    "SessionClosedFor",
    "AuthenticationFailed",
    "Denied",
    "Pruned",
)

AUDITED = "kind IN (" + ", ".join(f"'{kind}'" for kind in AUDITED_KINDS) + ")"
"""Journal rows that the audit log consists of; spelt out for the same reason."""

windows = Table(
    "windows",
    metadata,
    Column("qpu", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("announced_by", Text, nullable=False),
    Column("announced_at", BigInteger, nullable=False),
)
"""Windows that operators announced; those of the site file are not in here."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("uid", BigInteger),
    Column("roles", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("issued_by", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

journal = Table(
    "journal",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("task_id", Number),
    Column("owner", Text),
    Column("session_id", Text),
    Column("state", Text),
    Column("shots_done", BigInteger),
    Column("cause", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Column("version", Integer, nullable=False),
)
"""Tells of tasks and sessions without being tied to their rows: history stays when they go."""
Index(
    "ix_journal_owner",
    journal.c.owner,
    journal.c.n,
    sqlite_where=text("owner IS NOT NULL"),
    postgresql_where=text("owner IS NOT NULL"),
)
Index(
    "ix_journal_task_states",
    journal.c.task_id,
    journal.c.n,
    sqlite_where=text("state IS NOT NULL"),
    postgresql_where=text("state IS NOT NULL"),
)
Index(
    "ix_journal_audited",
    journal.c.n,
    sqlite_where=text(AUDITED),
    postgresql_where=text(AUDITED),
)
Index(
    "ix_journal_recalled",
    journal.c.n,
    sqlite_where=text(RECALLED),
    postgresql_where=text(RECALLED),
)
