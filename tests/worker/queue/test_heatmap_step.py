"""The step that lets the tables hold a third kind of object, forth and back, on both databases."""

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

import schemas.migrations
from schemas.jobs import NewOutput, ObjectKind, OutboxOrder
from schemas.tables import CommitmentRow, OutboxRow, Output
from tests.worker.queue.makers import SR_CLASS, arrival, claimed, result
from worker.queue.database import check, reading, require_current_schema, upgrade, writing
from worker.queue.jobs import JobQueue

HEATMAP = NewOutput(kind=ObjectKind.HEATMAP, sop_class_uid=SR_CLASS, sop_instance_uid="2.25.7")
ORDERS = tuple(OutboxOrder(kind=kind, destination="PACS") for kind in ObjectKind)


def step_back(engine: Engine, *, to: str) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", schemas.migrations.__path__[0])
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)


def owe_all_kinds(engine: Engine, queue: JobQueue) -> None:
    """Leave a job that owes one object of each kind, each asked about by storage commitment."""
    queue.receive(arrival())
    claim = claimed(queue)
    made = result(claim)
    queue.settle(claim, result(claim, outputs=(*made.outputs, HEATMAP), orders=ORDERS))
    with writing(engine) as session:
        for row in session.scalars(sa.select(OutboxRow)).all():
            session.add(
                CommitmentRow(
                    transaction_uid=f"2.25.{row.id}", outbox_id=row.id, asked_at=row.run_after
                )
            )


def kinds_in(engine: Engine, table: type[OutboxRow] | type[Output]) -> set[str]:
    with reading(engine) as session:
        return set(session.scalars(sa.select(sa.cast(table.kind, sa.String))))


def test_a_database_steps_back_before_the_heatmap_with_everything_else_in_place(
    engine: Engine, queue: JobQueue
) -> None:
    owe_all_kinds(engine, queue)

    step_back(engine, to="0004")
    try:
        assert kinds_in(engine, OutboxRow) == {"SR", "SC"}
        assert kinds_in(engine, Output) == {"SC"}
        with reading(engine) as session:
            asked = session.scalar(sa.select(sa.func.count()).select_from(CommitmentRow))
        assert asked == 2
        with pytest.raises(IntegrityError, match="ck_outbox_kind"), engine.begin() as connection:
            connection.execute(sa.text("UPDATE outbox SET kind = 'HEATMAP' WHERE kind = 'SC'"))
    finally:
        upgrade(engine, backup_folder=None)

    require_current_schema(engine)
    assert engine.dialect.name == "postgresql" or check(engine) == ()


def test_the_tables_hold_three_kinds_and_no_fourth(engine: Engine, queue: JobQueue) -> None:
    owe_all_kinds(engine, queue)

    assert kinds_in(engine, OutboxRow) == {"SR", "SC", "HEATMAP"}
    with pytest.raises(IntegrityError, match="ck_outputs_kind"), engine.begin() as connection:
        connection.execute(sa.text("UPDATE outputs SET kind = 'SEG'"))
