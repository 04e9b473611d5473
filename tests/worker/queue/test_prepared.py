"""Statements made ready once, held to those that SQLAlchemy works out at each call."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from schemas.jobs import ReceptionState
from schemas.tables import NaiveTimeError, Reception
from worker.queue.database import writing_plainly
from worker.queue.dialect import insert_or_ignore_in, plain
from worker.queue.prepared import Prepared

ROW = {
    "sop_instance_uid": "1.2.3",
    "digest": "a" * 64,
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
    "study_instance_uid": "1.2.3.1",
    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    "size_bytes": 2**33,
    "spool_file": "spool/aa/100%s.dcm",
    "calling_ae": "O'BRIEN%(x)s",
    "called_ae": "BONE?:AGE",
    "peer_address": "",
    "received_at": datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=2))),
    "state": ReceptionState.QUARANTINED,
    "examined_at": None,
}
RECEPTIONS = plain(Reception)
INSERT = Prepared(
    lambda dialect: insert_or_ignore_in(dialect, Reception).returning(RECEPTIONS.c.id),
    columns=tuple(ROW),
)
OF_UID = Prepared(
    lambda _: (
        sa.select(RECEPTIONS.c.digest)
        .where(RECEPTIONS.c.sop_instance_uid == sa.bindparam("uid"))
        .order_by(RECEPTIONS.c.id)
        .limit(1)
    )
)


def test_a_row_is_written_as_by_the_ordinary_way(engine: Engine) -> None:
    with writing_plainly(engine) as connection:
        first = INSERT.execute(connection, ROW).scalar_one()
        other = ROW | {"digest": "b" * 64}
        second = connection.execute(
            sa.insert(RECEPTIONS).values(other).returning(RECEPTIONS.c.id)
        ).scalar_one()
    with writing_plainly(engine) as connection:
        rows = {row.id: row for row in connection.execute(sa.select(RECEPTIONS))}

    assert rows.keys() == {first, second}
    same = [name for name in ROW if name != "digest"]
    assert [getattr(rows[first], name) for name in same] == [ROW[name] for name in same]
    assert [getattr(rows[second], name) for name in same] == [ROW[name] for name in same]
    assert rows[first].received_at.tzinfo is UTC


def test_a_row_that_is_there_gives_nothing_back(engine: Engine) -> None:
    with writing_plainly(engine) as connection:
        INSERT.execute(connection, ROW)
        assert INSERT.execute(connection, ROW).scalar_one_or_none() is None


def test_several_rows_go_in_one_statement_with_the_constants_of_the_statement(
    engine: Engine,
) -> None:
    several = Prepared(lambda _: sa.insert(RECEPTIONS), columns=tuple(ROW))
    with writing_plainly(engine) as connection:
        several.execute(connection, *(ROW | {"digest": letter * 64} for letter in "cab"))
        assert OF_UID.execute(connection, {"uid": "1.2.3"}).scalar_one() == "c" * 64
        assert OF_UID.execute(connection, {"uid": "1.2.4"}).first() is None


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    with writing_plainly(engine) as connection, pytest.raises(NaiveTimeError):
        INSERT.execute(connection, ROW | {"received_at": datetime(2026, 1, 1)})  # noqa: DTZ001 - the point


def test_what_the_tables_forbid_is_an_error_as_ever(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing_plainly(engine) as connection:
        INSERT.execute(connection, ROW | {"called_ae": None})
