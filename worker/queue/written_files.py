"""Which files of results should be there, and with which content: the sealed trail says it."""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.audit import WrittenFile
from schemas.tables import JobEventRow, Output, Result
from worker.queue.fingerprints import files_of

_CHUNK = 1000  # rows in memory at once


def written_files(session: Session) -> Iterator[WrittenFile]:
    """Yield each file of a result that retention has not removed, once for each event."""
    folders = {
        (row.job_id, row.revision): row.result_folder
        for row in session.execute(
            sa.select(Result.job_id, Result.revision, Result.result_folder).where(
                Result.removed_at.is_(None)
            )
        )
    }
    revisions = {
        row.sop_instance_uid: row.revision
        for row in session.execute(
            sa.select(Output.sop_instance_uid, Result.revision)
            .join(Result, Result.id == Output.result_id)
            .where(Result.removed_at.is_(None))
        )
    }
    events = session.scalars(
        sa.select(JobEventRow)
        .where(JobEventRow.event.in_(("settled", "sent")))
        .order_by(JobEventRow.id)
        .execution_options(yield_per=_CHUNK)
    )
    for event in events:
        detail = json.loads(event.detail)
        revision = detail.get("revision", revisions.get(detail.get("sop_instance_uid")))
        folder = folders.get((event.job_id, revision))
        if folder is None or event.job_id is None:
            continue
        for name, digest in files_of(detail).items():
            yield WrittenFile(
                path=f"{folder}/{name}", sha256=digest, job_id=event.job_id, event_id=event.id
            )
