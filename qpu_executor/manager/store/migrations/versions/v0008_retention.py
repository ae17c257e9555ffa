"""0008: tasks whose results have expired, and the rows of the journal that are the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As the code had it at this version: migrations don't move on with it.
_AUDITED = (
    "kind IN ('OperatorAsked', 'TokenIssued', 'TokenRevoked', 'SessionOpenedFor', "
    "'SessionClosedFor', 'AuthenticationFailed', 'Denied', 'Pruned')"
)
_EXPIRABLE = "ended_at IS NOT NULL AND expired_at IS NULL"


def upgrade() -> None:
    """Add the column and the indexes; nothing has expired yet."""
    op.add_column("tasks", sa.Column("expired_at", sa.BigInteger))
    op.create_index(
        "ix_tasks_expirable",
        "tasks",
        ["ended_at"],
        sqlite_where=sa.text(_EXPIRABLE),
        postgresql_where=sa.text(_EXPIRABLE),
    )
    op.create_index(
        "ix_journal_audited",
        "journal",
        ["n"],
        sqlite_where=sa.text(_AUDITED),
        postgresql_where=sa.text(_AUDITED),
    )
