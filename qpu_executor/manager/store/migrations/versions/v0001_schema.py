"""0001: programs, sessions, tasks, chunks and the journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LIVE = "state IN ('HELD', 'QUEUED', 'RUNNING')"


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("incarnation", sa.BigInteger, nullable=False),
    )
    _programs_and_sessions()
    _tasks()
    _chunks()
    _journal()


def _programs_and_sessions() -> None:
    op.create_table(
        "programs",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("atoms", sa.Integer),
        sa.Column("duration_ns", sa.BigInteger),
        sa.Column("layout", sa.Text),
        sa.Column("qubit_ids", sa.Text, nullable=False),
        sa.Column("added_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.UniqueConstraint("owner", "key", name="uq_sessions_owner_key"),
    )
    op.create_index("ix_sessions_owner_opened_at", "sessions", ["owner", "opened_at"])
    _partial_index("ix_sessions_open", "sessions", ["opened_at"], "closed_at IS NULL")


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("job_class", sa.Text, nullable=False),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("shots", sa.BigInteger, nullable=False),
        sa.Column("shots_done", sa.BigInteger, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("program_hash", sa.Text, nullable=False),
        sa.Column("qpu_asked", sa.Text),
        sa.Column("qpus", sa.Text, nullable=False),
        sa.Column("divisible", sa.Boolean, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("key_origin", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("submitted_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("qpu", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("permanent", sa.Boolean, nullable=False),
        sa.Column("cancel_asked", sa.Boolean, nullable=False),
        sa.Column("hold_asked", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_tasks_session_id"),
        sa.ForeignKeyConstraint(["program_hash"], ["programs.hash"], name="fk_tasks_program_hash"),
        sa.UniqueConstraint("owner", "key", "generation", name="uq_tasks_owner_key_generation"),
    )
    op.create_index("ix_tasks_owner", "tasks", ["owner", "id"])
    op.create_index("ix_tasks_session_id", "tasks", ["session_id", "id"])
    op.create_index("ix_tasks_program_hash", "tasks", ["program_hash", "owner"])
    _partial_index("ix_tasks_live", "tasks", ["id", "session_id"], LIVE)


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("task_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("qpu", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("emulated", sa.Boolean, nullable=False),
        sa.Column("first_shot", sa.BigInteger, nullable=False),
        sa.Column("shots", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
        sa.Column("incarnation", sa.BigInteger, nullable=False),
        sa.Column("shots_counted", sa.BigInteger, nullable=False),
        sa.Column("surplus", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("setup_s", sa.Float, nullable=False),
        sa.Column("device_s", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_chunks_task_id"),
    )


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column("n", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("task_id", NUMBER),
        sa.Column("owner", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("state", sa.Text),
        sa.Column("shots_done", sa.BigInteger),
        sa.Column("cause", sa.BigInteger, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    _partial_index("ix_journal_owner", "journal", ["owner", "n"], "owner IS NOT NULL")
    _partial_index("ix_journal_task_states", "journal", ["task_id", "n"], "state IS NOT NULL")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
