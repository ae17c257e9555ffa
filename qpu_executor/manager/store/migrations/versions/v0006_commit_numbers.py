"""0006: how many transactions the writer made, and which tasks a restored backup knew."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody asks about transactions of earlier versions, none was restored."""
    op.add_column("meta", sa.Column("commits", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column(
        "meta", sa.Column("restored_below", sa.BigInteger, nullable=False, server_default="0")
    )
