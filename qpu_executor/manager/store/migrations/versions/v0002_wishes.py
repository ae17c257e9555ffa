"""0002: what tasks wish about time, what chunks were charged, and what a restart recalls."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RECALLED = "kind IN ('QpuDrained', 'QpuResumed', 'SaveHold')"


def upgrade() -> None:
    """Add the columns; what is stored had no wishes, and its chunks cost their time."""
    op.add_column("tasks", sa.Column("layout", sa.Text))
    op.add_column("tasks", sa.Column("wishes", sa.Text, nullable=False, server_default="{}"))
    op.add_column(
        "chunks", sa.Column("discarded", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("chunks", sa.Column("charged_s", sa.Float, nullable=False, server_default="0"))
    op.execute(
        "UPDATE chunks SET charged_s = device_s + setup_s WHERE state IN ('FINISHED', 'STOPPED')"
    )
    _partial_index("ix_chunks_ended_at", "chunks", ["ended_at"], "ended_at IS NOT NULL")
    _partial_index("ix_journal_recalled", "journal", ["n"], RECALLED)


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
