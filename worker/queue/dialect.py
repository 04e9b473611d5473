"""The statements that SQLite and PostgreSQL share, but SQLAlchemy spells twice."""

from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from schemas.tables import TOKEN, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_or_ignore(session: Session, table: type[Table]) -> "postgresql.Insert | sqlite.Insert":
    """Return INSERT … ON CONFLICT DO NOTHING for the database at hand; loads that one alone."""
    return insert_or_ignore_in(session.get_bind().dialect.name, table)


@cache
def insert_or_ignore_in(dialect: str, table: type[Table]) -> "postgresql.Insert | sqlite.Insert":
    """Return the same for the database of this name."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - as above

        return postgresql.insert(plain(table)).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - as above

    return sqlite.insert(plain(table)).on_conflict_do_nothing()


def plain(table: type[Table]) -> sa.Table:
    """Return the table behind a class: to insert into it takes half the time of a mapped one."""
    return table.metadata.tables[table.__tablename__]


class FreshToken(FunctionElement[str]):
    """128 random bits in hexadecimal, other ones in every row of a statement."""

    type = TOKEN
    inherit_cache = True


@compiles(FreshToken, "sqlite")
def _of_sqlite(*_: Any, **__: Any) -> str:  # noqa: ANN401 - SQLAlchemy's own
    return "lower(hex(randomblob(16)))"


@compiles(FreshToken, "postgresql")
def _of_postgresql(*_: Any, **__: Any) -> str:  # noqa: ANN401 - SQLAlchemy's own
    return "replace(CAST(gen_random_uuid() AS VARCHAR), '-', '')"
