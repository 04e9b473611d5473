"""What became of the constancy phantom: its newest rounds, from the jobs themselves."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.figures import ConstancyFigures
from schemas.jobs import JobState
from schemas.phantom import CONSTANCY_AE
from schemas.tables import Job, Reception, Result

#: older rounds say nothing about today; the longest rhythm is a week
_WINDOW = timedelta(days=15)
_NEWEST = 5
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)


def newest_rounds(session: Session, *, at: datetime) -> tuple[ConstancyFigures, ...]:
    """Return the newest rounds that the constancy check has begun, newest first."""
    newest = session.scalars(  # before the jobs, which are far more
        sa.select(Reception.id)
        .where(Reception.calling_ae == CONSTANCY_AE)
        .order_by(Reception.id.desc())
        .limit(_NEWEST)
    ).all()
    uids = sa.select(Reception.sop_instance_uid).where(Reception.id.in_(newest))
    is_current = sa.and_(Result.job_id == Job.id, Result.revision == Job.revision)
    rows = session.execute(
        sa.select(Job, Result.release_digest, Result.bone_age_months)
        .join(Reception, Reception.id == Job.reception_id)
        .outerjoin(Result, is_current)
        .where(
            Job.sop_instance_uid.in_(uids),
            Reception.calling_ae == CONSTANCY_AE,
            Job.received_at >= at - _WINDOW,
        )
        .order_by(Job.id.desc())
        .limit(_NEWEST)
    )
    return tuple(
        ConstancyFigures(
            job_id=job.id,
            started_at=job.received_at,
            state=job.state,
            reason=job.reason,
            ended_at=None if job.state in _UNDER_WAY else job.updated_at,
            release_digest=digest,
            bone_age_months=bone_age_months,
        )
        for job, digest, bone_age_months in rows
    )
