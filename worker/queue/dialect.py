"""The statements that SQLite and PostgreSQL share, but SQLAlchemy spells twice."""

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from schemas.tables import Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_or_ignore(session: Session, table: type[Table]) -> "postgresql.Insert | sqlite.Insert":
    """Return INSERT … ON CONFLICT DO NOTHING for the database at hand; loads that one alone."""
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - as above

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - as above

    return sqlite.insert(table).on_conflict_do_nothing()
