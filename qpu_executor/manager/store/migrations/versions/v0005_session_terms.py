"""0005: when a session's allocation ends, and what it says of its work."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is stored has no end and said nothing."""
    op.add_column("sessions", sa.Column("ends_at", sa.BigInteger))
    op.add_column("sessions", sa.Column("hints", sa.Text, nullable=False, server_default="{}"))
