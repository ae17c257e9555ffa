"""0009: the job class of a session's tasks that name none."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what is stored has the site's default class."""
    op.add_column("sessions", sa.Column("job_class", sa.Text))
