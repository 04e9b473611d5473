"""The statements that SQLite and PostgreSQL share, but SQLAlchemy spells twice."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from schemas.tables import Table


def insert_or_ignore(session: Session, table: type[Table]) -> postgresql.Insert | sqlite.Insert:
    """Return INSERT … ON CONFLICT DO NOTHING for the database at hand."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
