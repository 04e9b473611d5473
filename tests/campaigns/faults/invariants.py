"""What must be true after every run, whatever was killed, full or away meanwhile."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa
from pydicom.uid import SecondaryCaptureImageStorage
from sqlalchemy import Engine

from schemas.jobs import JobState, OutboxState, Outcome
from schemas.tables import Job, JobEventRow, OutboxRow, Output, Reception, Result
from tests.campaigns.faults.house import House
from tests.campaigns.faults.sending import Image, Traffic
from tests.orthanc import Orthanc, wait_for
from worker.queue.database import reading
from worker.queue.ledger import event_hash

TERMINAL = frozenset({JobState.DELIVERED, JobState.FAILED, JobState.IGNORED, JobState.CANCELLED})
OBJECTS_OF_A_JOB = 2  # report and page
_MOST = 500  # names in one question to the database


class BrokenPromiseError(AssertionError):
    """Something that we promise is not so."""


def require(is_so: bool, what: str) -> None:  # noqa: FBT001 - reads as assert does
    if not is_so:
        raise BrokenPromiseError(what)


def wait_until_terminal(
    engine: Engine, images: Sequence[Image], *, limit_seconds: float = 120
) -> None:
    """Return when every job of these images has ended, and nothing of them is on its way."""
    uids = [image.sop_instance_uid for image in images]
    wait_for(lambda: not unfinished(engine, uids), limit_seconds=limit_seconds)


def unfinished(engine: Engine, uids: Sequence[str]) -> int:
    """Return how many jobs and objects of these images are still on their way."""
    open_rows = (OutboxState.WAITING, OutboxState.SENDING, OutboxState.SENT)
    count = 0
    with reading(engine) as session:
        for some in parts(uids):
            jobs = sa.select(Job.id).where(Job.sop_instance_uid.in_(some))
            on_way = jobs.where(Job.state.not_in(TERMINAL))
            rows = sa.select(OutboxRow.id).where(
                OutboxRow.state.in_(open_rows), OutboxRow.job_id.in_(jobs)
            )
            for query in (on_way, rows):
                count += len(session.scalars(query).all())
    return count


def with_job(engine: Engine, images: Sequence[Image]) -> set[str]:
    """Return which of these images have a job, by SOP Instance UID."""
    found: set[str] = set()
    with reading(engine) as session:
        for some in parts([image.sop_instance_uid for image in images]):
            jobs = sa.select(Job.sop_instance_uid).where(Job.sop_instance_uid.in_(some))
            found |= set(session.scalars(jobs))
    return found


def count_delivered(engine: Engine) -> int:
    """Return how many jobs have come to their good end."""
    with reading(engine) as session:
        delivered = sa.select(sa.func.count()).where(Job.state == JobState.DELIVERED)
        return session.scalar(delivered) or 0


def parts(uids: Sequence[str]) -> Iterable[Sequence[str]]:
    return [uids[start : start + _MOST] for start in range(0, len(uids), _MOST)]


def require_one_job_each(engine: Engine, images: Sequence[Image], traffic: Traffic) -> list[int]:
    """Every 0x0000 has one job, read and delivered; what was never acknowledged at most one."""
    acknowledged = traffic.acknowledged
    job_ids = []
    with reading(engine) as session:
        for image in images:
            uid = image.sop_instance_uid
            found = session.scalars(sa.select(Job).where(Job.sop_instance_uid == uid)).all()
            least = 1 if uid in acknowledged else 0
            require(least <= len(found) <= 1, f"{uid} has {len(found)} jobs")
            for job in found:
                require(
                    job.state is JobState.DELIVERED,
                    f"job {job.id} is {job.state.value}: {job.error}",
                )
                require(job.outcome is Outcome.ESTIMATED, f"job {job.id} was refused: {job.reason}")
                job_ids.append(job.id)
    return job_ids


def require_objects_once(
    engine: Engine, pacs: Orthanc, images: Sequence[Image], *, is_whole: bool = False
) -> int:
    """Orthanc holds one report and one page of each job, in its study, for its patient.

    With ``is_whole`` nothing else may be there. Returns how many objects it holds of them.
    """
    held = _held_by_study(pacs)
    wanted = {image.study_instance_uid for image in images}
    require(
        not is_whole or held.keys() <= wanted,
        f"{len(held.keys() - wanted)} strange studies: {sorted(held.keys() - wanted)[:3]}",
    )
    for image in images:
        objects = held.get(image.study_instance_uid, [])
        _require_set(engine, image, objects)
    return sum(len(held.get(study, ())) for study in wanted)


def _held_by_study(pacs: Orthanc) -> dict[str, list[tuple[str, str]]]:
    """Return SOP Instance UID and patient of everything, by Study Instance UID."""
    held: dict[str, list[tuple[str, str]]] = {}
    studies = {each["ID"]: each for each in pacs.get("/studies?expand")}
    series = {each["ID"]: each for each in pacs.get("/series?expand")}
    for each in pacs.get("/instances?expand"):
        study = studies[series[each["ParentSeries"]]["ParentStudy"]]
        patient = study["PatientMainDicomTags"].get("PatientID", "")
        uid = each["MainDicomTags"]["SOPInstanceUID"]
        held.setdefault(study["MainDicomTags"]["StudyInstanceUID"], []).append((uid, patient))
    return held


def _require_set(engine: Engine, image: Image, objects: Collection[tuple[str, str]]) -> None:
    uid = image.sop_instance_uid
    with reading(engine) as session:
        job_id = session.scalar(sa.select(Job.id).where(Job.sop_instance_uid == uid))
        owing = sa.select(OutboxRow.sop_instance_uid, OutboxRow.state)
        rows = session.execute(owing.where(OutboxRow.job_id == job_id)).all()
        owed = {row.sop_instance_uid for row in rows}
        classes = session.scalars(
            sa.select(Output.sop_class_uid).where(Output.sop_instance_uid.in_(owed))
        ).all()
    if job_id is None:
        require(not objects, f"{uid} has no job, but objects")
        return
    require(
        {row.state for row in rows} == {OutboxState.CONFIRMED},
        f"job {job_id}: {sorted(row.state.value for row in rows)}",
    )
    require(
        len(objects) == OBJECTS_OF_A_JOB and {each for each, _ in objects} == owed,
        f"job {job_id} owes {len(owed)} objects, Orthanc holds {len(objects)}",
    )
    pages = [each for each in classes if each == SecondaryCaptureImageStorage]
    require(len(pages) == 1, f"job {job_id} has {len(pages)} pages among {len(classes)} objects")
    require({who for _, who in objects} == {image.patient_id}, f"job {job_id}: another patient")


def require_chains(engine: Engine, job_ids: Sequence[int]) -> int:
    """Each event of these jobs is what was written, and names the one before it."""
    count = 0
    with reading(engine) as session:
        for job_id in job_ids:
            before = ""
            events = sa.select(JobEventRow).where(JobEventRow.job_id == job_id)
            for event in session.scalars(events.order_by(JobEventRow.id)):
                require(event.previous_hash == before, f"event {event.id}: the chain is broken")
                require(event_hash(event) == event.hash, f"event {event.id}: was changed")
                before = event.hash
                count += 1
    return count


def require_no_halves(house: House, engine: Engine, images: Sequence[Image]) -> None:
    """What is kept is whole, byte for byte; nothing that was arriving is left."""
    contents = {image.sop_instance_uid: image.content for image in images}
    kept = sa.select(Reception.sop_instance_uid, Reception.digest, Reception.spool_file)
    with reading(engine) as session:
        receptions = [
            row
            for some in parts(list(contents))
            for row in session.execute(kept.where(Reception.sop_instance_uid.in_(some)))
        ]
    known = Counter(row.sop_instance_uid for row in receptions)
    for row in receptions:
        require(known[row.sop_instance_uid] == 1, f"{row.sop_instance_uid}: two receptions")
        content = contents[row.sop_instance_uid]
        file = (house.root / row.spool_file).read_bytes()
        require(file.endswith(content), f"{row.spool_file} is not what was sent")
        require(hashlib.sha256(content).hexdigest() == row.digest, f"{row.spool_file}: digest")
    halves = list((house.root / "incoming").iterdir())
    require(not halves, f"{len(halves)} halves are left in incoming/")


def strangers_in_spool(house: House, engine: Engine) -> list[Path]:
    """Return whole files without a reception: kept, never acknowledged, not sent again."""
    with reading(engine) as session:
        known = set(session.scalars(sa.select(Reception.spool_file)))
    files = (house.root / "spool").rglob("*.dcm")
    return [path for path in files if str(path.relative_to(house.root)) not in known]


def strangers_in_results(house: House, engine: Engine) -> list[Path]:
    """Return folders that an attempt left which never settled: nobody will ever look at them."""
    with reading(engine) as session:
        known = set(session.scalars(sa.select(Result.result_folder)))
    folders = (house.root / "results").glob("*/*")
    return [path for path in folders if str(path.relative_to(house.root)) not in known]


def require_sealed_trail(house: House) -> None:
    """`boneage audit verify` finds nothing."""
    problems = house.json("audit", "verify")
    require(problems == [], f"audit verify: {problems[:3]}")
