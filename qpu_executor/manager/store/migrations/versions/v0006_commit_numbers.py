"""0006: how many transactions the writer made, so that it can ask whether one went in."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nobody asks about transactions of earlier versions."""
    op.add_column("meta", sa.Column("commits", sa.BigInteger, nullable=False, server_default="0"))
