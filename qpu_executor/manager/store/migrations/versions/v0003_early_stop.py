"""0003: why a task is complete with fewer shots than it asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no stored task was stopped early."""
    op.add_column("tasks", sa.Column("stopped_early", sa.Text))
