"""Run by Alembic: bring the database on the given connection to the wanted revision."""

from typing import cast

from alembic import context
from sqlalchemy import Connection

import schemas.partial_indexes  # noqa: F401 - they belong to the tables
from schemas.tables import Table


def migrate() -> None:
    """Run the steps on the connection that ``worker.queue.database`` opened and locked."""
    connection = cast("Connection", context.config.attributes["connection"])
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        transactional_ddl=True,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate()
