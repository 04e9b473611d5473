"""Indexes over a part of a table; steps of the schema and tests load them, the worker does not.

To declare one, SQLAlchemy loads the dialects of both databases: a twentieth of a small command.
"""

from sqlalchemy import Index, text

from schemas.tables import HAS_DIFFERENCE, IS_ENDING, JobEventRow, Reception, Result

_IS_QUARANTINED = "state = 'quarantined'"

# of both states, nearly all rows have the other
Index(
    "ix_receptions_quarantined",
    Reception.received_at,
    sqlite_where=text(_IS_QUARANTINED),
    postgresql_where=text(_IS_QUARANTINED),
)
Index(
    "ix_results_drift",
    Result.sex,
    Result.id,
    sqlite_where=text(HAS_DIFFERENCE),
    postgresql_where=text(HAS_DIFFERENCE),
)
# nearly all events are others
Index(
    "ix_job_events_endings",
    JobEventRow.id,
    sqlite_where=text(IS_ENDING),
    postgresql_where=text(IS_ENDING),
)
