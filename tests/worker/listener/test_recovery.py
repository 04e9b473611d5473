import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas.errors import TransientError
from schemas.jobs import Arrival, JobState, Receipt
from tests.fakes import Clock
from tests.worker.listener.conftest import RETRY, Site, StartSite
from tests.worker.listener.encoding import dataset, explicit
from tests.worker.listener.sending import encoded_file, store
from worker.listener.errors import UnreadableDatasetError
from worker.listener.recovery import recover
from worker.listener.spool import FileMeta
from worker.queue.database import backup
from worker.queue.jobs import JobQueue
from worker.queue.restore import restore

PIXELS = explicit(0x7FE00010, "OW", b"\1\2" * 500)


def image(folder: Path, uid: str, after_study: bytes = b"") -> Path:
    announced = FileMeta(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    content = dataset(sop_instance_uid=uid, after_study=after_study)
    return encoded_file(folder / f"{uid}-{len(content)}.dcm", content, announced)


def test_an_image_that_came_after_the_backup_is_read_after_the_restore(
    site: Site, tmp_path: Path
) -> None:
    store(site.port, image(tmp_path, "1.1"))
    copy = backup(site.engine, tmp_path / "backups")
    assert store(site.port, image(tmp_path, "1.2"), image(tmp_path, "1.3")) == [0x0000, 0x0000]

    restore(site.engine, copy, set_aside=tmp_path / "backups")
    recovered = recover(site.spool, site.queue)

    assert recovered == 2
    assert {job.sop_instance_uid for job in site.jobs} == {"1.1", "1.2", "1.3"}
    assert {job.state for job in site.jobs} == {JobState.QUEUED}


def test_a_recovered_image_knows_who_sent_it(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(senders=("PACS", "OTHER PACS"))
    copy = backup(site.engine, tmp_path / "backups")
    store(site.port, image(tmp_path, "1.2"), calling_ae="OTHER PACS")
    before = site.jobs

    restore(site.engine, copy, set_aside=tmp_path / "backups")
    recover(site.spool, site.queue)

    (job,) = site.jobs
    assert (job.calling_ae, job.study_instance_uid) == ("OTHER PACS", before[0].study_instance_uid)


def test_what_was_recovered_stands_in_the_trail(site: Site, tmp_path: Path) -> None:
    copy = backup(site.engine, tmp_path / "backups")
    store(site.port, image(tmp_path, "1.2"))
    restore(site.engine, copy, set_aside=tmp_path / "backups")

    recover(site.spool, site.queue)

    received, whole = site.events
    assert (received.event, received.detail["recovered"]) == ("received", True)
    assert (whole.event, whole.detail["count"]) == ("spool_recovered", 1)


def test_recovering_twice_does_nothing_more(site: Site, tmp_path: Path) -> None:
    copy = backup(site.engine, tmp_path / "backups")
    store(site.port, image(tmp_path, "1.2"))
    restore(site.engine, copy, set_aside=tmp_path / "backups")
    recover(site.spool, site.queue)
    before = (site.jobs, site.events)

    assert recover(site.spool, site.queue) == 0

    assert (site.jobs, site.events) == before


def test_a_corrected_image_is_recovered_after_the_one_that_it_corrects(
    site: Site, tmp_path: Path
) -> None:
    copy = backup(site.engine, tmp_path / "backups")
    store(site.port, image(tmp_path, "1.2", PIXELS))
    (first,) = site.kept
    os.utime(first, (1_700_000_000, 1_700_000_000))
    store(site.port, image(tmp_path, "1.2", PIXELS + PIXELS))
    restore(site.engine, copy, set_aside=tmp_path / "backups")

    assert recover(site.spool, site.queue) == 2

    assert [event.reason for event in site.events[:2]] == [Receipt.NEW, Receipt.CHANGED]
    claim = site.queue.claim(lease=RETRY.longest_delay)
    assert claim is not None
    assert site.root / claim.spool_file == first


class RefusingQueue(JobQueue):
    """A queue whose database is away for as long as it says so."""

    is_away = True

    def receive(self, arrival: Arrival) -> Receipt:
        if self.is_away:
            raise TransientError
        return super().receive(arrival)


def test_a_file_whose_job_could_not_be_committed_gets_it_later(
    start_site: StartSite, engine: Engine, tmp_path: Path
) -> None:
    refusing = RefusingQueue(engine, now=Clock(), actor="listen", release="r1", retry=RETRY)
    refused = start_site(queue=refusing)
    sent = image(tmp_path, "1.2")
    assert store(refused.port, sent) == [0xA700]
    assert (len(refused.kept), refused.jobs) == (1, [])
    refused.listener.stop()
    site = start_site()

    assert recover(site.spool, site.queue) == 1

    assert [job.sop_instance_uid for job in site.jobs] == ["1.2"]
    assert store(site.port, sent) == [0x0000]  # its sender tries again, as it was told to
    assert len(site.jobs) == 1


def test_a_listener_that_is_slower_than_the_recovery_still_says_success(
    site: Site, tmp_path: Path
) -> None:
    """Between the rename and the commit of a listener, somebody else reads the spool."""

    class LateQueue(JobQueue):
        def receive(self, arrival: Arrival) -> Receipt:
            if not arrival.is_recovered:
                recover(site.spool, self)
            return super().receive(arrival)

    late = LateQueue(site.engine, now=Clock(), actor="listen", release="r1", retry=RETRY)
    site.listener._reception._queue = late  # noqa: SLF001 - the moment cannot be had otherwise

    assert store(site.port, image(tmp_path, "1.2")) == [0x0000]

    assert len(site.jobs) == 1


def test_a_damaged_orphan_is_left_where_it_is_and_holds_up_no_other(
    site: Site, tmp_path: Path
) -> None:
    copy = backup(site.engine, tmp_path / "backups")
    store(site.port, image(tmp_path, "1.2"))
    (damaged,) = site.kept
    store(site.port, image(tmp_path, "1.3"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"\xa5")
    (damaged.parent / f"{'0' * 64}.dcm").write_bytes(b"")
    restore(site.engine, copy, set_aside=tmp_path / "backups")

    assert recover(site.spool, site.queue) == 1

    assert [job.sop_instance_uid for job in site.jobs] == ["1.3"]
    assert damaged.exists()
    assert site.events[-1].detail == {"count": 1, "unreadable": 2}


@pytest.mark.parametrize("length", [0, 100, 140, 150, 200])
def test_a_file_meta_that_was_cut_off_is_no_accident(length: int) -> None:
    whole = FileMeta(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid="1.2.840.10008.1.2"
    ).encode()

    with pytest.raises(UnreadableDatasetError):
        FileMeta.decode(whole[:length])


def test_the_file_meta_says_what_it_was_told() -> None:
    meta = FileMeta(
        sop_class_uid="1.2.84",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2",
        calling_ae="OTHER PACS",
        called_ae="BONEAGE",
    )

    assert FileMeta.decode(meta.encode() + b"\x08\x00") == (meta, len(meta.encode()))


def test_a_spool_that_is_not_there_has_nothing_to_recover(site: Site) -> None:
    shutil.rmtree(site.root / "spool")

    assert recover(site.spool, site.queue) == 0
