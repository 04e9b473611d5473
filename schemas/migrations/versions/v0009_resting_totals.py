"""How many jobs had come to rest: written down, so that who starts need not count them all."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; the schedule fills it."""
    op.create_table(
        "resting_totals",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("tombstone_id", sa.Integer(), nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=False),
        sa.Column("ignored", sa.Integer(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_resting_totals_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resting_totals")),
    )


def downgrade() -> None:
    """Drop it: they are counted anew."""
    op.drop_table("resting_totals")
