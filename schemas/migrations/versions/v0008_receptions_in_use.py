"""Indexes by which it is found who reads a reception: lists by study, and retention, ask it."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = ("jobs", "results")


def upgrade() -> None:
    """Add them."""
    for table in _TABLES:
        op.create_index(op.f(f"ix_{table}_reception_id"), table, ["reception_id"])


def downgrade() -> None:
    """Drop them."""
    for table in reversed(_TABLES):
        op.drop_index(op.f(f"ix_{table}_reception_id"), table_name=table)
