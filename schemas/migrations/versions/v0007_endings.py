"""An index of the few events with which a job ended without a result."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NAME = "ix_job_events_endings"


def upgrade() -> None:
    """Add it."""
    where = sa.text("event IN ('failed', 'ignored')")
    op.create_index(_NAME, "job_events", ["id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_NAME, table_name="job_events")
