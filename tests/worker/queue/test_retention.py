import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import JobState
from schemas.refusals import IgnoreReason
from schemas.retention import RetentionPolicy, RetentionReport
from schemas.tables import JobEventRow, Reception, SealRow, TombstoneRow
from tests.fakes import Clock
from tests.worker.queue.makers import arrival, claimed, result, send_all, settled
from worker.operations.retention import RetentionRound
from worker.queue.audit import AuditTrail
from worker.queue.database import reading, writing
from worker.queue.jobs import JobQueue
from worker.queue.orphans import Orphans
from worker.queue.outbox import Outbox
from worker.queue.retention import FileRetention
from worker.queue.tombstones import RecordRetention

KEY = b"k" * 32
FOR_EVER = RetentionPolicy(images=None, ignored=None, records=None)
MONTH = RetentionPolicy(images=timedelta(days=30), ignored=timedelta(days=7), records=None)
YEAR = RetentionPolicy(
    images=timedelta(days=30), ignored=timedelta(days=7), records=timedelta(days=365)
)

Make = Callable[[RetentionPolicy], RetentionRound]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def make(engine: Engine, clock: Clock, root: Path) -> Make:
    def make(policy: RetentionPolicy) -> RetentionRound:
        return RetentionRound(
            files=FileRetention(
                engine, root=root, policy=policy, now=clock, fingerprint=lambda _path: None
            ),
            records=RecordRetention(engine, period=policy.records, is_exported=False, now=clock),
            orphans=Orphans(engine, root=root, now=clock),
            root=root,
            policy=policy,
            key=lambda: KEY,
        )

    return make


@pytest.fixture
def trail(engine: Engine, clock: Clock) -> AuditTrail:
    return AuditTrail(engine, now=clock)


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "audit.anchor"


def write_files(root: Path, uid: str, job_id: int) -> tuple[Path, Path]:
    """Lay down what `listen` and `infer` would have written for one job."""
    image = root / f"spool/aa/{uid}-aaaa.dcm"
    content = root / f"results/{job_id}/1/content.json"
    for path in (image, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    return image, content


@pytest.fixture
def delivered(queue: JobQueue, outbox: Outbox, root: Path) -> tuple[Path, Path]:
    """One job that every destination has confirmed, with its files."""
    settled(queue, uid="1.2.3")
    send_all(outbox)
    return write_files(root, "1.2.3", 1)


def events(queue: JobQueue, job_id: int = 1) -> list[str]:
    return [event.event for event in queue.events(job_id)]


def test_files_go_when_their_time_has_come(
    delivered: tuple[Path, Path], make: Make, clock: Clock, queue: JobQueue
) -> None:
    clock.forward(days=29)
    assert make(MONTH).run() == RetentionReport()
    assert all(path.exists() for path in delivered)

    clock.forward(days=2)
    report = make(MONTH).run()

    assert (report.jobs, report.files, report.size_bytes) == (1, 2, 200)
    assert not any(path.exists() for path in delivered)
    removed = queue.events(1)[-1]
    assert (removed.event, removed.actor) == ("files_removed", "retention")
    assert removed.reason == "delivered, after 30 days"
    assert queue.job(1).image_removed_at == clock()
    assert queue.job(1).state is JobState.DELIVERED


def test_what_was_removed_is_not_removed_again(
    delivered: tuple[Path, Path], make: Make, clock: Clock, queue: JobQueue
) -> None:
    assert delivered
    clock.forward(days=31)
    make(MONTH).run()

    assert make(MONTH).run().jobs == 0
    assert events(queue).count("files_removed") == 1


def test_a_preview_changes_nothing(
    delivered: tuple[Path, Path], make: Make, clock: Clock, queue: JobQueue
) -> None:
    clock.forward(days=31)
    before = events(queue)

    preview = make(MONTH).preview()

    assert (preview.jobs, preview.files) == (1, 2)
    assert all(path.exists() for path in delivered)
    assert events(queue) == before


def test_without_a_policy_nothing_ever_goes(
    delivered: tuple[Path, Path], make: Make, clock: Clock
) -> None:
    clock.forward(days=10_000)

    assert make(FOR_EVER).run() == RetentionReport()
    assert all(path.exists() for path in delivered)


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED]
)
def test_a_job_that_is_not_done_keeps_its_files(
    queue: JobQueue, root: Path, make: Make, clock: Clock, state: JobState
) -> None:
    queue.receive(arrival("1.2.3"))
    if state is JobState.CANCELLED:
        queue.cancel(1, reason="test")
    if state is JobState.RUNNING:
        claimed(queue)
    if state is JobState.FAILED:
        queue.fail(claimed(queue), code="x", message="x")
    image, _content = write_files(root, "1.2.3", 1)
    clock.forward(days=10_000)

    assert queue.job(1).state is state
    report = make(YEAR).run()

    assert (report.jobs, report.records_of_jobs) == (0, 0)
    assert image.exists()


def test_a_result_that_is_not_confirmed_keeps_its_files(
    queue: JobQueue, root: Path, make: Make, clock: Clock
) -> None:
    settled(queue, uid="1.2.3")
    files = write_files(root, "1.2.3", 1)
    clock.forward(days=10_000)

    report = make(MONTH).run()

    assert (report.jobs, report.held) == (0, {"delivering": 1})
    assert all(path.exists() for path in files)


def test_an_ignored_image_has_a_time_of_its_own(
    queue: JobQueue, root: Path, make: Make, clock: Clock
) -> None:
    queue.receive(arrival("1.2.3"))
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)
    image, _content = write_files(root, "1.2.3", 1)
    clock.forward(days=8)

    assert make(MONTH).run().jobs == 1
    assert not image.exists()
    assert queue.events(1)[-1].reason == "ignored, after 7 days"


def test_a_content_that_was_set_aside_stays(
    queue: JobQueue, outbox: Outbox, root: Path, make: Make, clock: Clock
) -> None:
    settled(queue, uid="1.2.3")
    send_all(outbox)
    queue.receive(arrival("1.2.3", digest="b" * 64))
    queue.quarantine(claimed(queue), reason="other pixels")
    image, _content = write_files(root, "1.2.3", 1)
    other = root / "spool/aa/1.2.3-bbbb.dcm"
    other.write_bytes(b"other")
    clock.forward(days=31)

    report = make(MONTH).run()

    assert (report.jobs, report.held) == (1, {"quarantined": 1})
    assert other.exists()
    assert not image.exists()


def test_a_newer_content_that_nobody_looked_at_holds_everything(
    engine: Engine, delivered: tuple[Path, Path], make: Make, clock: Clock
) -> None:
    with writing(engine) as session:
        session.get_one(Reception, 1).examined_at = None
    clock.forward(days=31)

    assert make(MONTH).run().jobs == 0
    assert all(path.exists() for path in delivered)


def test_a_row_that_was_tampered_with_deletes_nothing_elsewhere(
    engine: Engine, delivered: tuple[Path, Path], make: Make, clock: Clock, tmp_path: Path
) -> None:
    assert delivered
    precious = tmp_path / "precious"
    precious.write_text("x")
    with writing(engine) as session:
        session.get_one(Reception, 1).spool_file = "spool/../../precious"
    clock.forward(days=31)

    assert make(MONTH).run().failed == 1
    assert precious.exists()


def test_a_disk_that_refuses_holds_up_no_other_job(
    queue: JobQueue, outbox: Outbox, root: Path, make: Make, clock: Clock
) -> None:
    for number in (1, 2):
        settled(queue, uid=f"1.2.{number}")
        write_files(root, f"1.2.{number}", number)
    send_all(outbox)
    stuck = root / "spool/aa/1.2.1-aaaa.dcm"
    stuck.unlink()
    stuck.mkdir()
    (stuck / "inside").mkdir(mode=0)
    (root / "results/1/1").rename(root / "results/1/aside")
    (root / "results/1/1").symlink_to("/proc/1")  # no folder, and not to be followed
    clock.forward(days=31)

    report = make(MONTH).run()

    assert report.jobs + report.failed == 2
    assert queue.job(2).image_removed_at is not None
    assert Path("/proc/1").exists()


def test_orphans_are_swept_with_a_count_and_an_event(
    queue: JobQueue, make: Make, root: Path, delivered: tuple[Path, Path], trail: AuditTrail
) -> None:
    lost, _content = write_files(root, "9.9.9", 99)
    queue.receive(arrival("1.2.4"))
    write_files(root, "1.2.4", 2)  # half of an attempt that goes on
    old = time.time() - timedelta(days=40).total_seconds()
    for path in (lost, root / "results/99/1", root / "results/2/1", *delivered):
        os.utime(path, (old, old))

    preview = make(MONTH).preview()
    report = make(MONTH).run()

    assert (preview.orphan_files, preview.orphan_folders) == (1, 1)
    assert (report.orphan_files, report.orphan_folders) == (1, 1)
    assert not lost.exists()
    assert not (root / "results/99/1").exists()
    assert (root / "results/2/1").exists()
    assert all(path.exists() for path in delivered)
    swept = [event for event in trail.list() if event.event == "orphans_removed"]
    assert [event.detail["count"] for event in swept] == [1, 1]


def test_a_fresh_file_without_a_row_is_no_orphan_yet(make: Make, root: Path) -> None:
    image, content = write_files(root, "9.9.9", 99)

    assert make(MONTH).run().orphan_files == 0
    assert image.exists()
    assert content.exists()


@pytest.fixture
def buried(
    delivered: tuple[Path, Path],
    queue: JobQueue,
    make: Make,
    clock: Clock,
    trail: AuditTrail,
    anchor: Path,
) -> RetentionReport:
    """A trail whose first job, and first event without one, were removed after a year."""
    assert delivered
    queue.record_event(event="rejected", reason="old", detail={})
    queue.record_event(event="rejected", reason="newer", detail={})
    clock.forward(days=31)
    make(YEAR).run()
    trail.seal(KEY, anchor)
    clock.forward(days=366)
    queue.receive(arrival("1.2.4"))
    trail.seal(KEY, anchor)
    return make(YEAR).run()


def test_rows_go_after_their_own_time(buried: RetentionReport, queue: JobQueue) -> None:
    assert buried.records_of_jobs == 1
    assert [job.sop_instance_uid for job in queue.jobs()] == ["1.2.4"]


def test_the_trail_is_whole_after_rows_were_removed(
    buried: RetentionReport, trail: AuditTrail, anchor: Path, queue: JobQueue
) -> None:
    assert trail.verify(KEY, anchor) == ()
    trail.seal(KEY, anchor)
    queue.record_event(event="rejected", reason="later", detail={})

    assert trail.verify(KEY, anchor) == ()
    (stone,) = trail.removals()
    assert (stone.job_count, stone.event_count) == (1, buried.events)
    assert stone.policy == "records, after 365 days"
    assert trail.list()[-2].event == "records_removed"


def test_a_removal_without_its_tombstone_is_found(
    buried: RetentionReport, engine: Engine, trail: AuditTrail, anchor: Path
) -> None:
    with writing(engine) as session:
        session.execute(sa.delete(TombstoneRow))

    problems = trail.verify(KEY, anchor)

    assert {problem.kind.value for problem in problems} == {"missing"}
    assert len(problems) == buried.events


def test_a_tombstone_that_names_more_than_was_removed_is_not_believed(
    buried: RetentionReport, engine: Engine, trail: AuditTrail, anchor: Path
) -> None:
    assert buried.events
    with writing(engine) as session:
        stone = session.scalars(sa.select(TombstoneRow)).one()
        stone.ranges = "[[1, 1000]]"
        newest = session.scalar(sa.select(sa.func.max(SealRow.event_id)))
        session.execute(sa.delete(JobEventRow).where(JobEventRow.id == newest))

    kinds = {problem.kind.value for problem in trail.verify(KEY, anchor)}

    assert kinds >= {"tombstone", "missing"}


def test_rows_that_are_not_sealed_stay(
    delivered: tuple[Path, Path], make: Make, clock: Clock, queue: JobQueue
) -> None:
    assert delivered
    clock.forward(days=31)
    make(YEAR).run()
    clock.forward(days=366)

    assert make(YEAR).run().records_of_jobs == 0
    assert queue.job(1).state is JobState.DELIVERED


def test_rows_that_the_audit_repository_has_not_got_stay(
    buried: RetentionReport, engine: Engine, clock: Clock
) -> None:
    assert buried.events
    clock.forward(days=400)
    waiting = RecordRetention(engine, period=timedelta(days=365), is_exported=True, now=clock)

    assert waiting.due() == (0, 0)
    assert waiting.remove(key=KEY) == (0, 0)


def test_rows_stay_as_long_as_their_files(
    delivered: tuple[Path, Path],
    make: Make,
    clock: Clock,
    trail: AuditTrail,
    anchor: Path,
) -> None:
    assert delivered
    trail.seal(KEY, anchor)
    clock.forward(days=10_000)
    only_rows = RetentionPolicy(images=None, ignored=None, records=timedelta(days=1))

    assert make(only_rows).run().records_of_jobs == 0


def test_an_image_that_comes_again_after_all_goes_on_counting(
    buried: RetentionReport, queue: JobQueue, engine: Engine
) -> None:
    assert buried.events
    queue.cancel(2, reason="test")
    queue.receive(arrival("1.2.3"))
    claim = claimed(queue)

    queue.settle(claim, result(claim))

    assert claim.revision == 2  # the UIDs of revision 1 lie in the PACS with other bytes
    with reading(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(TombstoneRow)) == 1
