"""Search hashes, what retention removed, and how far the audit trail was handed on."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HASHES = ("accession_hash", "patient_id_hash")


def upgrade() -> None:
    """Add columns and tables; receptions that are there are indexed later, from the spool."""
    for name in _HASHES:
        op.add_column("receptions", sa.Column(name, sa.String(length=64), nullable=True))
        op.create_index(op.f(f"ix_receptions_{name}"), "receptions", [name], unique=False)
    for name in ("indexed_at", "removed_at"):
        op.add_column("receptions", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("results", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "tombstones",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("ranges", sa.Text(), nullable=False),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("job_count", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "retired_jobs",
        sa.Column("sop_instance_hash", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_hash", name=op.f("pk_retired_jobs")),
    )
    op.create_table(
        "audit_exports",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_audit_exports")),
    )


def downgrade() -> None:
    """Drop them all."""
    for name in ("audit_exports", "retired_jobs", "tombstones"):
        op.drop_table(name)
    op.drop_column("results", "removed_at")
    for name in ("removed_at", "indexed_at"):
        op.drop_column("receptions", name)
    for name in reversed(_HASHES):
        op.drop_index(op.f(f"ix_receptions_{name}"), table_name="receptions")
        op.drop_column("receptions", name)
