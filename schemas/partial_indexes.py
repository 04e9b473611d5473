"""Indexes over a part of a table; steps of the schema and tests load them, the worker does not.

To declare one, SQLAlchemy loads the dialects of both databases: a twentieth of a small command.
"""

from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.orm import InstrumentedAttribute

from schemas.tables import HAS_DIFFERENCE, IS_ENDING, JobEventRow, Reception, Result

_IS_QUARANTINED = "state = 'quarantined'"


def _declare(name: str, *columns: InstrumentedAttribute[Any], where: str) -> None:
    """Add an index over the rows that fit, the same on both databases."""
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


# of both states, nearly all rows have the other
_declare("ix_receptions_quarantined", Reception.received_at, where=_IS_QUARANTINED)
_declare("ix_results_drift", Result.sex, Result.id, where=HAS_DIFFERENCE)
# nearly all events are others
_declare("ix_job_events_endings", JobEventRow.id, where=IS_ENDING)
