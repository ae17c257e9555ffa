"""0007: leases and limits of sessions, their Slurm jobs, and why a session's tasks are held."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; sessions that are stored have no lease, no limit and no job."""
    op.add_column("sessions", sa.Column("uid", sa.BigInteger))
    op.add_column("sessions", sa.Column("slurm", sa.Text, nullable=False, server_default="{}"))
    op.add_column("sessions", sa.Column("lease_s", sa.Float))
    op.add_column("sessions", sa.Column("idle_s", sa.Float))
    op.add_column("sessions", sa.Column("expires_at", sa.BigInteger))
    op.add_column("sessions", sa.Column("on_close", sa.Text))
    op.add_column("sessions", sa.Column("on_lost", sa.Text))
    op.add_column("sessions", sa.Column("lost_at", sa.BigInteger))
    op.add_column(
        "sessions", sa.Column("closed_because", sa.Text, nullable=False, server_default="")
    )
    op.add_column("tasks", sa.Column("held_because", sa.Text, nullable=False, server_default=""))
