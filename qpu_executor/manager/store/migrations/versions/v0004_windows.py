"""0004: windows that operators announce while the manager runs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; nothing was announced before."""
    op.create_table(
        "windows",
        sa.Column("qpu", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("announced_by", sa.Text, nullable=False),
        sa.Column("announced_at", sa.BigInteger, nullable=False),
    )
