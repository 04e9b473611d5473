"""Indexes by which metrics cost the same however many jobs are finished."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDEXES = (
    ("receptions", ("calling_ae", "id")),
    ("outbox", ("destination", "sent_at")),
    ("outbox", ("destination", "state")),
)
_PARTIAL: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("ix_receptions_quarantined", "receptions", ("received_at",), "state = 'quarantined'"),
    (
        "ix_results_drift",
        "results",
        ("sex", "id"),
        "bone_age_months IS NOT NULL AND chronological_age_months IS NOT NULL",
    ),
)


def upgrade() -> None:
    """Add them."""
    for table, columns in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    for name, table, keys, condition in _PARTIAL:
        where = sa.text(condition)
        op.create_index(name, table, keys, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for name, table, *_ in _PARTIAL:
        op.drop_index(name, table_name=table)
    for table, columns in reversed(_INDEXES):
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table_name=table)
