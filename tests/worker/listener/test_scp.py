import errno
import hashlib
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from pydicom.data import get_charset_files
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config

from schemas.config import SrClass
from schemas.errors import TransientError
from schemas.jobs import Arrival, JobState, Receipt
from schemas.refusals import IgnoreReason
from schemas.results import SOFTWARE_NAME
from tests.builders import hand_radiograph, write_file
from tests.campaigns.fuzz import sample_of
from tests.fakes import Clock
from tests.worker.listener.conftest import RETRY, Site, StartSite
from tests.worker.listener.encoding import DX, EXPLICIT, SECONDARY_CAPTURE, dataset, explicit
from tests.worker.listener.sending import association, encoded_file, store
from worker.listener import spool as spool_module
from worker.listener.errors import NoRoomError
from worker.listener.spool import FileMeta
from worker.logs import configure_logging
from worker.queue.jobs import JobQueue
from worker.reporting.identities import SR_CLASS_UIDS

CONTENT = dataset()
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CANARY = "CANARYSON^JOHANNA"
PIXELS = explicit(0x7FE00010, "OW", b"\1\2" * 500)


# kept


def test_an_image_is_on_disk_and_queued_when_success_comes(site: Site, tmp_path: Path) -> None:
    sent = write_file(hand_radiograph(SOPInstanceUID="1.2.3.4"), tmp_path / "sent.dcm")

    assert store(site.port, sent) == [0x0000]

    (job,) = site.jobs
    assert (job.state, job.sop_instance_uid) == (JobState.QUEUED, "1.2.3.4")
    assert (job.calling_ae, job.release) == ("PACS", "r1")
    (kept,) = site.kept
    assert kept.read_bytes().endswith(sent.read_bytes()[-100_000:])
    assert site.halves == []


def test_the_reception_holds_the_digest_of_the_bytes_as_received(
    site: Site, tmp_path: Path
) -> None:
    store(site.port, encoded_file(tmp_path / "sent.dcm", CONTENT))

    with site.engine.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM receptions")).mappings().one()
    assert row["digest"] == hashlib.sha256(CONTENT).hexdigest()
    assert row["spool_file"] == str(site.kept[0].relative_to(site.root))
    assert row["size_bytes"] == len(CONTENT)
    assert (row["called_ae"], row["peer_address"]) == ("BONEAGE", "127.0.0.1")
    assert row["study_instance_uid"] == "1.2"


def test_the_same_bytes_again_are_a_success_but_no_second_job(site: Site, tmp_path: Path) -> None:
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    store(site.port, sent)
    before = site.kept[0].stat()

    assert store(site.port, sent, sent) == [0x0000, 0x0000]

    after = site.kept[0].stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(site.jobs) == 1
    assert len(site.kept) == 1


def test_a_resend_wakes_an_ignored_job(site: Site, tmp_path: Path) -> None:
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    store(site.port, sent)
    claim = site.queue.claim(lease=RETRY.longest_delay)
    assert claim is not None
    site.queue.settle_ignored(claim, reason=IgnoreReason.NO_RULE)

    assert store(site.port, sent) == [0x0000]
    assert site.jobs[0].state is JobState.QUEUED


def test_two_contents_of_one_uid_are_both_kept(site: Site, tmp_path: Path) -> None:
    first = encoded_file(tmp_path / "first.dcm", dataset(after_study=PIXELS))
    other = encoded_file(tmp_path / "other.dcm", dataset(after_study=PIXELS + PIXELS))

    assert store(site.port, first, other) == [0x0000, 0x0000]

    assert len(site.kept) == 2
    assert len(site.jobs) == 1
    assert [event.reason for event in site.events] == [Receipt.NEW, Receipt.CHANGED]


def test_text_that_no_character_set_explains_is_kept_as_received(
    site: Site, tmp_path: Path
) -> None:
    text = explicit(0x00080005, "CS", b"KLINGON ") + explicit(0x00100010, "PN", b"\xff\xfe{}^\x1b$")
    sent = encoded_file(tmp_path / "sent.dcm", dataset(before_study=text))

    assert store(site.port, sent) == [0x0000]
    assert site.kept[0].read_bytes().endswith(dataset(before_study=text))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom in sender and receiver
def test_a_uid_with_a_leading_zero_is_kept_as_received(site: Site, tmp_path: Path) -> None:
    meta = FileMeta(
        sop_class_uid=DX,
        sop_instance_uid="1.2.03",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    sent = encoded_file(tmp_path / "sent.dcm", dataset(sop_instance_uid="1.2.03"), meta)

    assert store(site.port, sent) == [0x0000]
    assert site.jobs[0].sop_instance_uid == "1.2.03"


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about its own files
@pytest.mark.parametrize(
    "path",
    # not chrSQEncoding: those have no UIDs
    [Path(path) for path in get_charset_files("*.dcm") if "chrSQ" not in path],
    ids=lambda path: path.stem,
)
def test_every_character_set_of_pydicoms_files_is_kept_as_received(
    site: Site, tmp_path: Path, path: Path
) -> None:
    sample = sample_of(path)
    meta = FileMeta(
        sop_class_uid=DX,
        sop_instance_uid=sample.sop_instance_uid,
        transfer_syntax_uid=sample.transfer_syntax_uid,
    )

    status = store(site.port, encoded_file(tmp_path / "sent.dcm", sample.content, meta))

    assert status == [0x0000]
    assert site.kept[0].read_bytes().endswith(sample.content)


def test_many_senders_at_once_lose_nothing(site: Site, tmp_path: Path) -> None:
    files = []
    for number in range(40):
        meta = FileMeta(
            sop_class_uid=DX,
            sop_instance_uid=f"1.2.{number}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        content = dataset(sop_instance_uid=f"1.2.{number}", after_study=PIXELS)
        files.append(encoded_file(tmp_path / f"{number}.dcm", content, meta))
    # the same UIDs from two senders at once, too
    batches = [files[start::4] for start in range(4)] * 2

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(8) as pool:
        patched.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        statuses = list(pool.map(lambda batch: send_batch(site.port, batch), batches))

    assert statuses == [[0x0000] * 10] * 8
    assert len(site.jobs) == len(site.kept) == 40


def send_batch(port: int, batch: list[Path]) -> list[int]:
    with association(port) as opened:
        return [opened.send_c_store(path).Status for path in batch]


# refused


def refuse_writes(*_paths: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_error_is_out_of_resources(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "keep_durably", refuse_writes)

    assert store(site.port, encoded_file(tmp_path / "sent.dcm", CONTENT)) == [0xA700]
    assert (site.jobs, site.kept, site.halves) == ([], [], [])


def test_a_file_that_retention_took_at_this_moment_is_sent_once_more(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = site.queue.receive

    def remove_and_receive(arrival: Arrival) -> Receipt:
        (site.root / arrival.spool_file).unlink()
        return receive(arrival)

    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    monkeypatch.setattr(site.queue, "receive", remove_and_receive)
    assert store(site.port, sent) == [0xA700]

    monkeypatch.undo()
    assert store(site.port, sent) == [0x0000]
    assert len(site.kept) == 1


def test_a_full_disk_is_out_of_resources_until_there_is_room(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    monkeypatch.setattr(site.spool, "has_room", lambda: False)
    assert store(site.port, sent) == [0xA700]

    monkeypatch.undo()
    assert store(site.port, sent) == [0x0000]


def test_a_disk_at_its_high_mark_is_closed_until_it_is_below_the_low_one(
    start_site: StartSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start_site(high_mark_percent=90, low_mark_percent=85)
    statuses = []
    for number, percent in enumerate((89, 90, 86, 84, 86)):
        usage = SimpleNamespace(total=100, used=percent, free=100 - percent)
        monkeypatch.setattr(shutil, "disk_usage", lambda _root, usage=usage: usage)
        sent = encoded_file(tmp_path / f"{number}.dcm", dataset(after_study=PIXELS * (1 + number)))
        statuses += store(site.port, sent)

    assert statuses == [0x0000, 0xA700, 0xA700, 0x0000, 0x0000]
    assert len(site.kept) == 3


def test_an_object_above_the_limit_is_out_of_resources(
    start_site: StartSite, tmp_path: Path
) -> None:
    site = start_site(largest_file_megabytes=1)
    large = explicit(0x7FE00010, "OW", bytes(1_000_001))
    sent = encoded_file(tmp_path / "sent.dcm", dataset(after_study=large))

    assert store(site.port, sent) == [0xA700]
    assert site.events[0].reason == "receive.too_large"
    assert site.halves == []


class BrokenQueue(JobQueue):
    """Its database is away."""

    def receive(self, arrival: Arrival) -> Receipt:
        raise sa.exc.OperationalError(arrival.spool_file, {}, Exception("disk I/O error"))


class BuggyQueue(JobQueue):
    """A programmer's mistake in the middle of a reception."""

    def is_own_object(self, sop_instance_uid: str) -> bool:
        del sop_instance_uid
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [BrokenQueue, BuggyQueue])
def test_a_database_error_is_out_of_resources(
    kind: type[JobQueue], start_site: StartSite, tmp_path: Path, engine: sa.Engine
) -> None:
    queue = kind(engine, now=Clock(), actor="listen", release="r1", retry=RETRY)
    site = start_site(queue=queue)
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)

    assert store(site.port, sent) == [0xA700]
    assert site.jobs == []


def test_a_bug_of_ours_is_a_failure(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_arguments: object, **_settings: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(site.spool, "keep", stumble)

    assert store(site.port, encoded_file(tmp_path / "sent.dcm", CONTENT)) == [0x0110]
    assert (site.jobs, site.halves) == ([], [])


def test_a_sender_that_was_refused_may_send_again_on_the_same_association(
    site: Site, tmp_path: Path
) -> None:
    bad = encoded_file(tmp_path / "bad.dcm", b"noise" * 100)
    good = encoded_file(tmp_path / "good.dcm", CONTENT)

    assert store(site.port, bad, good) == [0xC000, 0x0000]


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        pytest.param(b"", 0xC000, "receive.unreadable", id="empty"),
        pytest.param(b"noise" * 100, 0xC000, "receive.unreadable", id="noise"),
        pytest.param(CONTENT[:-1], 0xC000, "receive.unreadable", id="cut off"),
        pytest.param(
            dataset(sop_instance_uid="1.2.99"), 0xA900, "receive.mismatch", id="other instance"
        ),
        pytest.param(
            dataset(sop_class_uid=ENHANCED_MR), 0xA900, "receive.mismatch", id="other class"
        ),
        pytest.param(dataset(sop_instance_uid=""), 0xA900, "receive.mismatch", id="no instance"),
        pytest.param(dataset(study_instance_uid=""), 0xA900, "receive.mismatch", id="no study"),
        pytest.param(
            dataset(study_instance_uid="../../etc"), 0xA900, "receive.mismatch", id="no UID"
        ),
    ],
)
def test_a_bad_data_set_is_refused_with_a_line_in_the_audit_trail(
    site: Site, tmp_path: Path, *, content: bytes, status: int, reason: str
) -> None:
    assert store(site.port, encoded_file(tmp_path / "sent.dcm", content)) == [status]

    assert (site.jobs, site.kept, site.halves) == ([], [], [])
    (event,) = site.events
    assert (event.event, event.reason, event.job_id) == ("refused", reason, None)
    assert event.detail["calling_ae"] == "PACS"


def test_a_request_of_another_class_than_its_context_is_not_supported(site: Site) -> None:
    sent = hand_radiograph()
    with association(site.port, contexts=((DX, ExplicitVRLittleEndian),)) as opened:
        (context,) = opened.accepted_contexts
        context._abstract_syntax = SECONDARY_CAPTURE  # type: ignore[assignment]  # noqa: SLF001 - a sender that lies
        sent.SOPClassUID = SECONDARY_CAPTURE
        assert opened.send_c_store(sent).Status == 0x0122
    assert (site.jobs, site.kept) == ([], [])


def test_an_error_comment_tells_the_sender_why(site: Site) -> None:
    sent = hand_radiograph()
    del sent.StudyInstanceUID
    with association(site.port, contexts=((DX, ExplicitVRLittleEndian),)) as opened:
        assert opened.send_c_store(sent).ErrorComment == "StudyInstanceUID is absent"


# our own


def test_our_own_equipment_is_a_success_that_keeps_nothing(site: Site, tmp_path: Path) -> None:
    sent = hand_radiograph(Modality="OT", Manufacturer=SOFTWARE_NAME)
    path = write_file(sent, tmp_path / "sent.dcm")

    assert store(site.port, path) == [0x0000]

    assert (site.jobs, site.kept, site.halves) == ([], [], [])
    assert [event.event for event in site.events] == ["own_object_returned"]


def test_an_instance_that_we_made_is_a_success_that_keeps_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.queue, "is_own_object", lambda uid: uid == "1.2.3")

    assert store(site.port, encoded_file(tmp_path / "sent.dcm", CONTENT)) == [0x0000]
    assert (site.jobs, site.kept) == ([], [])


@pytest.mark.parametrize("sop_class_uid", sorted(SR_CLASS_UIDS.values()))
def test_a_report_of_ours_is_a_success_that_keeps_nothing(
    site: Site, tmp_path: Path, sop_class_uid: str
) -> None:
    ours = explicit(0x00080070, "LO", SOFTWARE_NAME.encode() + b" " * (len(SOFTWARE_NAME) % 2))

    assert store(site.port, report_file(tmp_path, sop_class_uid, equipment=ours)) == [0x0000]

    assert (site.jobs, site.kept, site.halves) == ([], [], [])
    (event,) = site.events
    assert event.event == "own_object_returned"
    assert event.detail["sop_class_uid"] == sop_class_uid


def test_a_report_with_a_uid_of_ours_is_a_success_that_keeps_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.queue, "is_own_object", lambda uid: uid == "1.2.3")

    assert store(site.port, report_file(tmp_path, SR_CLASS_UIDS[SrClass.ENHANCED])) == [0x0000]
    assert (site.jobs, site.kept) == ([], [])


@pytest.mark.parametrize("sop_class_uid", sorted(SR_CLASS_UIDS.values()))
def test_a_report_of_somebody_else_is_not_supported(
    site: Site, tmp_path: Path, sop_class_uid: str
) -> None:
    assert store(site.port, report_file(tmp_path, sop_class_uid)) == [0x0122]

    assert (site.jobs, site.kept, site.halves) == ([], [], [])
    (event,) = site.events
    assert (event.event, event.reason) == ("refused", "receive.foreign_report")


def report_file(folder: Path, sop_class_uid: str, *, equipment: bytes = b"") -> Path:
    meta = FileMeta(
        sop_class_uid=str(sop_class_uid), sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT
    )
    content = dataset(sop_class_uid=sop_class_uid, before_study=equipment)
    return encoded_file(folder / "report.dcm", content, meta)


def test_a_flood_of_foreign_reports_is_counted_instead_of_written_down_one_by_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = FileMeta(
        sop_class_uid=SR_CLASS_UIDS[SrClass.ENHANCED],
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=EXPLICIT,
    )
    content = dataset(sop_class_uid=meta.sop_class_uid)
    foreign = encoded_file(tmp_path / "foreign.dcm", content, meta)

    assert set(store(site.port, *[foreign] * 60)) == {0x0122}
    assert len(site.events) == 20

    monkeypatch.setattr("worker.listener.pace.WINDOW_SECONDS", 0.0)
    store(site.port, foreign)
    assert len(site.events) == 21
    assert site.events[-1].detail["left_out"] == 40


def test_a_radiograph_is_read_whatever_equipment_it_names(site: Site, tmp_path: Path) -> None:
    path = write_file(hand_radiograph(Manufacturer=SOFTWARE_NAME), tmp_path / "phantom.dcm")

    assert store(site.port, path) == [0x0000]
    assert len(site.jobs) == 1


# associations


def test_an_echo_is_answered(site: Site) -> None:
    with association(site.port, contexts=(("1.2.840.10008.1.1", ImplicitVRLittleEndian),)) as one:
        assert one.send_c_echo().Status == 0x0000


def test_an_unknown_calling_ae_is_rejected_as_such(site: Site) -> None:
    with association(site.port, calling_ae="STRANGER") as opened:
        assert opened.is_rejected
        answer = opened.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)


def test_an_unknown_called_ae_is_rejected_as_such(site: Site) -> None:
    with association(site.port, called_ae="SOMEONE") as opened:
        assert opened.is_rejected
        answer = opened.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)


def test_without_senders_nobody_is_let_in(start_site: StartSite) -> None:
    with association(start_site(senders=()).port) as opened:
        assert opened.is_rejected


def test_anybody_is_let_in_if_the_settings_say_so(start_site: StartSite, tmp_path: Path) -> None:
    site = start_site(accept_unknown_calling_ae=True)
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)

    assert store(site.port, sent, calling_ae="STRANGER") == [0x0000]
    assert site.jobs[0].calling_ae == "STRANGER"


def test_too_many_associations_are_rejected_for_now(start_site: StartSite) -> None:
    site = start_site(maximum_associations=1)
    with association(site.port) as first, association(site.port) as second:
        assert first.is_established
        assert second.is_rejected
        answer = second.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)


def test_a_class_that_is_not_taken_is_a_rejected_context(site: Site) -> None:
    contexts = ((ENHANCED_MR, ExplicitVRLittleEndian), (DX, ExplicitVRLittleEndian))
    with association(site.port, contexts=contexts) as opened:
        assert [context.abstract_syntax for context in opened.accepted_contexts] == [DX]


# what is written down


def test_no_patient_is_named_in_any_log_line(start_site: StartSite, tmp_path: Path) -> None:
    stream = io.StringIO()
    configure_logging(level="debug", strict=True, json_lines=True, stream=stream)
    site = start_site()
    named = hand_radiograph(PatientName=CANARY, PatientID=CANARY, StudyDescription=CANARY)
    paths = [write_file(named, tmp_path / "a.dcm")]
    content = dataset(
        study_instance_uid=CANARY, before_study=explicit(0x00100010, "PN", CANARY.encode())
    )
    paths.append(encoded_file(tmp_path / "b.dcm", content))
    paths.append(encoded_file(tmp_path / "c.dcm", CANARY.encode() * 20))

    assert store(site.port, *paths) == [0x0000, 0xA900, 0xC000]

    assert "receive.kept" in stream.getvalue()
    assert "receive.refused" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    database = b"".join(path.read_bytes() for path in site.root.glob("boneage.sqlite*"))
    assert CANARY.encode() not in database


def test_an_error_of_this_room_belongs_to_a_family() -> None:
    assert isinstance(NoRoomError(), TransientError)


def test_halves_of_an_earlier_listener_are_swept_into_the_audit_trail(
    start_site: StartSite, tmp_path: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "left.part").write_bytes(b"half")

    site = start_site()

    assert site.halves == []
    (event,) = site.events
    assert (event.event, event.detail["count"]) == ("halves_removed", 1)
