"""A third kind of object: the heatmap alone."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("outbox", "outputs")
_BEFORE = "kind IN ('SR', 'SC')"
_AFTER = "kind IN ('SR', 'SC', 'HEATMAP')"


def upgrade() -> None:
    """Let both tables hold it."""
    _replace(_BEFORE, _AFTER)


def downgrade() -> None:
    """Forget such objects; destinations that have them keep them."""
    op.execute(
        "DELETE FROM commitments WHERE outbox_id IN (SELECT id FROM outbox WHERE kind = 'HEATMAP')"
    )
    for table in _TABLES:
        op.execute(f"DELETE FROM {table} WHERE kind = 'HEATMAP'")  # noqa: S608 - our own names
    _replace(_AFTER, _BEFORE)


def _replace(old: str, new: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _replace_in_sqlite(connection, old, new)
        return
    for table in _TABLES:
        op.drop_constraint(op.f(f"ck_{table}_kind"), table, type_="check")
        op.create_check_constraint(op.f(f"ck_{table}_kind"), table, new)


def _replace_in_sqlite(connection: sa.Connection, old: str, new: str) -> None:
    """Change the rule alone: a new table in the place of ``outbox`` would break its references.

    The way that SQLite describes for rules which the rows already keep (sqlite.org,
    lang_altertable, section 7): inside the transaction, with a new schema version.
    """
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in _TABLES:
        changed = connection.execute(
            sa.text(
                "UPDATE sqlite_schema SET sql = replace(sql, :old, :new) "
                "WHERE type = 'table' AND name = :name AND instr(sql, :old) > 0"
            ),
            {"old": old, "new": new, "name": table},
        )
        if changed.rowcount != 1:
            raise RuntimeError(f"the rule about kinds is not in {table} as this step knows it")
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
