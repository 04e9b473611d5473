"""What the metrics ask for: the age that a bone age is compared with, and what the schedule did."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table; results that are there keep an unknown age."""
    op.add_column("results", sa.Column("chronological_age_months", sa.Float(), nullable=True))
    op.create_table(
        "periodic_runs",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_periodic_runs")),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("periodic_runs")
    op.drop_column("results", "chronological_age_months")
