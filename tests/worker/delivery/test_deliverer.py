import logging
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import select

from schemas.config import SrClass
from schemas.jobs import JobState, ObjectKind, OutboxClaim, OutboxState
from schemas.results import ResultContent
from schemas.tables import OutboxRow
from tests.fakes import Drop, FakePacs
from tests.orthanc import wait_for
from tests.worker.delivery.owing import SECTION, Owing, peer
from worker.delivery.circuit import Circuit
from worker.delivery.deliverer import Deliverer
from worker.delivery.objects import ResultFiles
from worker.delivery.scu import VERIFICATION
from worker.delivery.statuses import retry_policy
from worker.logs import configure_logging
from worker.queue.outbox import Outbox
from worker.reporting.identities import SR_CLASS_UIDS
from worker.reporting.structured_report import build_structured_report

SR_CLASSES = {ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage}


def classes_in(pacs: FakePacs) -> set[str]:
    return {str(each.SOPClassUID) for each in pacs.stored.values()}


def report_in(pacs: FakePacs) -> str:
    return next(uid for uid, each in pacs.stored.items() if each.SOPClassUID in SR_CLASSES)


def lease_end(owing: Owing) -> datetime:
    with owing.engine.connect() as connection:
        ends = [each for each in connection.scalars(select(OutboxRow.lease_ends_at)) if each]
    return max(ends)


@contextmanager
def running(deliverer: Deliverer, *, grace_seconds: float = 5) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(
        target=deliverer.run, args=(stop,), kwargs={"grace_seconds": grace_seconds}
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def test_report_and_capture_arrive_in_the_study_of_the_image(owing: Owing, pacs: FakePacs) -> None:
    job, image = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert classes_in(pacs) == {ComprehensiveSRStorage, SecondaryCaptureImageStorage}
    assert {each.StudyInstanceUID for each in pacs.stored.values()} == {image.StudyInstanceUID}
    assert {each.PatientID for each in pacs.stored.values()} == {image.PatientID}
    assert owing.state(job) is JobState.DELIVERED


def test_report_and_capture_share_an_association(owing: Owing, pacs: FakePacs) -> None:
    owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert [request.association for request in pacs.requests] == [1, 1]


def test_no_object_crosses_between_two_pacs(owing: Owing, pacs: FakePacs) -> None:
    with FakePacs("OTHER") as other:
        ours = [owing.owe("pacs")[1] for _ in range(2)]
        theirs = [owing.owe("other")[1] for _ in range(2)]

        owing.deliver_all(
            owing.deliverer(peer("pacs", pacs.port), peer("other", other.port, ae_title="OTHER"))
        )

        for each, images in ((pacs, ours), (other, theirs)):
            assert {found.StudyInstanceUID for found in each.stored.values()} == {
                image.StudyInstanceUID for image in images
            }
            assert len(each.stored) == 4


def test_two_destinations_of_one_job_get_the_same_bytes(owing: Owing, pacs: FakePacs) -> None:
    with FakePacs("OTHER") as other:
        job, _ = owing.owe("pacs", "other")

        owing.deliver_all(
            owing.deliverer(peer("pacs", pacs.port), peer("other", other.port, ae_title="OTHER"))
        )

        assert pacs.stored == other.stored
        assert owing.state(job) is JobState.DELIVERED


def test_a_full_pacs_gets_its_objects_when_it_has_room_again(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    pacs.always_answer(0xA700)
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(20):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)
    assert owing.state(job) is JobState.DELIVERING
    assert not pacs.stored

    pacs.always_answer(0x0000)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.stored) == 2


def test_a_pacs_that_was_down_for_days_gets_its_objects(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(6):
        owing.deliver_all(deliverer)
        owing.clock.forward(hours=12)
    owing.deliver_all(deliverer)
    waiting = owing.queue.job(job.job_id).destinations
    assert any("nobody listens" in (each.error or "") for each in waiting)

    pacs.come_up()
    owing.clock.forward(minutes=15)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED


def test_while_a_pacs_is_down_one_object_knocks_for_all(owing: Owing, pacs: FakePacs) -> None:
    jobs = [owing.owe("pacs")[0] for _ in range(5)]
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))

    owing.deliver_all(deliverer)

    rows = [row for job in jobs for row in owing.queue.job(job.job_id).destinations]
    assert sum(row.attempt for row in rows) == 1


def test_a_pacs_that_is_away_is_asked_by_echo_and_costs_no_attempts(
    owing: Owing, pacs: FakePacs
) -> None:
    jobs = [owing.owe("pacs")[0] for _ in range(3)]
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(30):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=2)
    assert sum(row.attempt for job in jobs for row in owing.queue.job(job.job_id).destinations) == 1
    pacs.come_up()

    owing.deliver_all(deliverer)

    assert pacs.echo_count == 1
    assert {owing.state(job) for job in jobs} == {JobState.DELIVERED}


def test_what_was_put_off_for_long_goes_at_once_when_the_pacs_is_back(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    pacs.always_answer(0xA700)
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(20):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)
    owing.deliver_all(deliverer)
    (row,) = owing.queue.job(job.job_id).destinations
    assert row.run_after is not None
    assert row.run_after - owing.clock() > timedelta(minutes=10)
    pacs.always_answer(0x0000)

    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED


def test_a_pacs_that_is_back_gets_no_sooner_what_it_does_not_understand(
    owing: Owing, pacs: FakePacs
) -> None:
    odd, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    later, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    pacs.answer(0xC001, 0xA700)
    deliverer = owing.deliverer(
        peer("pacs", pacs.port), section=SECTION.model_copy(update={"first_retry_seconds": 600})
    )
    owing.deliver_all(deliverer)

    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert owing.state(later) is JobState.DELIVERED
    assert owing.state(odd) is JobState.DELIVERING


def test_a_pacs_without_anything_to_get_is_not_asked(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    owing.queue.cancel(job.job_id, reason="test image")
    pacs.come_up()
    owing.clock.forward(minutes=2)

    owing.deliver_all(deliverer)

    assert pacs.echo_count == 0


def test_a_pacs_that_refuses_the_echo_itself_is_back(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    pacs.refuse(VERIFICATION)
    pacs.come_up()
    owing.clock.forward(minutes=2)

    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED


def test_the_pauses_between_two_echoes_grow_to_a_minute_and_are_not_in_step(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.go_down()
    clock, pauses = owing.clock, []
    circuit = Circuit(
        peer("pacs", pacs.port),
        ae_title="BONEAGE",
        connect_timeout_seconds=5,
        policy=retry_policy(SECTION),
        now=clock,
    )
    circuit.trip()
    for _ in range(8):
        began = clock()
        while not circuit.is_due:
            clock.forward(seconds=0.5)
        pauses.append((clock() - began).total_seconds())
        assert not circuit.probe()

    limits = [5, 10, 20, 40, 60, 60, 60, 60]
    assert all(
        0.8 * limit <= pause <= limit + 0.5 for pause, limit in zip(pauses, limits, strict=True)
    )
    assert len(set(pauses[4:])) > 1


def test_a_pacs_that_stays_away_longer_than_we_wait_calls_an_operator(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    pacs.go_down()
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    owing.clock.forward(days=7, minutes=1)

    owing.deliver_all(deliverer)

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "give_up_after_days" in (view.error or "")


def test_what_was_given_up_goes_out_when_an_operator_asks(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.clock.forward(days=8)
    owing.deliver_all(deliverer)
    assert owing.state(job) is JobState.FAILED

    owing.queue.requeue(job.job_id, reason="PACS is back", deliver_only=True)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED


def test_a_destination_that_is_no_longer_configured_calls_an_operator(
    owing: Owing, pacs: FakePacs
) -> None:
    gone, _ = owing.owe("gone")
    job, _ = owing.owe("pacs")
    assert owing.outbox.waiting_without_destination(["pacs"]) == {"gone": 2}

    with running(owing.deliverer(peer("pacs", pacs.port))):
        wait_for(lambda: owing.state(gone) is JobState.FAILED)
        wait_for(lambda: owing.state(job) is JobState.DELIVERED)

    error = owing.queue.job(gone.job_id).error or ""
    assert "'gone'" in error
    assert "requeue" in error
    assert owing.outbox.waiting_without_destination(["pacs"]) == {}


def test_a_destination_that_is_configured_again_gets_its_objects_when_asked(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    assert owing.outbox.fail_without_destination(["other"]) == 2

    owing.queue.requeue(job.job_id, reason="it is back", deliver_only=True)
    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert owing.state(job) is JobState.DELIVERED


def test_a_clock_that_is_set_back_does_not_make_a_lane_rest_for_hours(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    later, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    pacs.answer(0xA700)
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    owing.clock.back(hours=3)

    owing.deliver_all(deliverer)

    assert owing.state(later) is JobState.DELIVERED
    assert owing.state(job) is JobState.DELIVERED


def test_one_pacs_that_never_answers_holds_up_nobody_else(owing: Owing, pacs: FakePacs) -> None:
    with FakePacs("SLOW") as slow:
        slow.hold()
        stuck, _ = owing.owe("slow")
        jobs = [owing.owe("pacs")[0] for _ in range(3)]
        deliverer = owing.deliverer(
            peer("slow", slow.port, ae_title="SLOW"), peer("pacs", pacs.port)
        )

        with running(deliverer):
            slow.wait_for(lambda each: each.held_count > 0)
            pacs.wait_for(lambda each: len(each.stored) == 6)
            assert owing.state(stuck) is JobState.DELIVERING
            slow.let_go()
            slow.wait_for(lambda each: len(each.stored) == 2)

        assert {owing.state(job) for job in (stuck, *jobs)} == {JobState.DELIVERED}


def test_a_refused_comprehensive_report_is_sent_as_enhanced(owing: Owing, pacs: FakePacs) -> None:
    pacs.refuse(ComprehensiveSRStorage)
    job, _ = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert classes_in(pacs) == {EnhancedSRStorage, SecondaryCaptureImageStorage}
    assert owing.state(job) is JobState.DELIVERED
    assert owing.outbox.accepted_classes("pacs") == {
        ComprehensiveSRStorage: False,
        EnhancedSRStorage: True,
        BasicTextSRStorage: True,
        SecondaryCaptureImageStorage: True,
    }


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xA9FF])
def test_a_class_that_is_refused_by_status_falls_through_to_basic_text(
    owing: Owing, pacs: FakePacs, status: int
) -> None:
    pacs.refuse(EnhancedSRStorage)
    pacs.always_answer(status, sop_class_uid=ComprehensiveSRStorage)
    job, _ = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert classes_in(pacs) == {BasicTextSRStorage, SecondaryCaptureImageStorage}
    assert owing.state(job) is JobState.DELIVERED
    assert owing.outbox.accepted_classes("pacs")[ComprehensiveSRStorage] is False


LADDER = (SrClass.COMPREHENSIVE_3D, SrClass.COMPREHENSIVE, SrClass.ENHANCED, SrClass.BASIC_TEXT)


@pytest.mark.parametrize("refused", range(len(LADDER)))
@pytest.mark.parametrize("status", [None, 0x0122, 0xA900])
def test_a_report_goes_in_the_first_class_of_the_whole_ladder_that_is_taken(
    owing: Owing, pacs: FakePacs, refused: int, status: int | None
) -> None:
    """Refused by context or by status, from Comprehensive 3D on: no result is lost on the way."""
    uids = [SR_CLASS_UIDS[each] for each in LADDER]
    if status is None:
        pacs.refuse(*uids[:refused])
    else:
        for uid in uids[:refused]:
            pacs.always_answer(status, sop_class_uid=uid)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SR])

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port, sr_classes=LADDER)))

    assert classes_in(pacs) == {uids[refused]}
    assert owing.state(job) is JobState.DELIVERED
    learnt = owing.outbox.accepted_classes("pacs")
    assert [learnt[uid] for uid in uids[: refused + 1]] == [False] * refused + [True]


def test_the_order_of_classes_is_the_destinations(owing: Owing, pacs: FakePacs) -> None:
    owing.owe("pacs")
    order = [SrClass.BASIC_TEXT, SrClass.COMPREHENSIVE]

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port, sr_classes=order)))

    assert classes_in(pacs) == {BasicTextSRStorage, SecondaryCaptureImageStorage}


def test_a_refusal_goes_as_enhanced_report(owing: Owing, pacs: FakePacs) -> None:
    owing.owe("pacs", is_refusal=True)

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert classes_in(pacs) == {EnhancedSRStorage, SecondaryCaptureImageStorage}


def test_a_pacs_that_takes_no_report_at_all_calls_an_operator_but_gets_the_capture(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.refuse(*SR_CLASSES)
    job, _ = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "sr_classes" in (view.error or "")
    assert classes_in(pacs) == {SecondaryCaptureImageStorage}


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_counts_as_stored(owing: Owing, pacs: FakePacs, status: int) -> None:
    pacs.always_answer(status)
    job, _ = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.DELIVERED
    assert {each.status for each in view.destinations} == {status}


def test_what_is_not_understood_is_tried_three_times(owing: Owing, pacs: FakePacs) -> None:
    pacs.always_answer(0xC001)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))

    for _ in range(6):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    assert len(pacs.requests) == 3
    assert owing.state(job) is JobState.FAILED


def test_a_restart_gives_no_further_tries_to_what_is_not_understood(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.always_answer(0xC001)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])

    for _ in range(6):
        owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))
        owing.clock.forward(minutes=15)

    assert len(pacs.requests) == 3
    assert owing.state(job) is JobState.FAILED


def test_an_operator_who_requeues_gives_three_tries_anew(owing: Owing, pacs: FakePacs) -> None:
    pacs.always_answer(0xC001)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(3):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    owing.queue.requeue(job.job_id, reason="again", deliver_only=True)
    for _ in range(3):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    assert len(pacs.requests) == 6


def test_three_tries_are_counted_from_the_first_odd_answer_not_from_the_first_attempt(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.answer(0xA700, 0xA700, 0xA700, 0xA700, 0xC001)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))

    for _ in range(6):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    assert owing.state(job) is JobState.DELIVERED


def test_a_permanent_answer_stops_at_once(owing: Owing, pacs: FakePacs) -> None:
    pacs.always_answer(0x0124)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))

    owing.deliver_all(deliverer)

    assert len(pacs.requests) == 1
    row = owing.queue.job(job.job_id).destinations[0]
    assert (row.state, row.status) == (OutboxState.FAILED, 0x0124)


def test_one_bad_object_does_not_stop_the_next(owing: Owing, pacs: FakePacs) -> None:
    pacs.answer(0x0124)
    bad, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    good, _ = owing.owe("pacs", kinds=[ObjectKind.SC])

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert (owing.state(bad), owing.state(good)) == (JobState.FAILED, JobState.DELIVERED)


@pytest.mark.parametrize("drop", list(Drop))
def test_a_transfer_that_was_cut_is_visible_once(owing: Owing, pacs: FakePacs, drop: Drop) -> None:
    pacs.drop(drop)
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    assert owing.state(job) is JobState.DELIVERING

    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.stored) == 2


def test_a_duplicate_is_stored_if_this_destination_took_the_same_bytes(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.duplicate_status = 0x0111
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)

    owing.queue.requeue(job.job_id, reason="again", deliver_only=True)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert [request.status for request in pacs.requests] == [0, 0, 0x0111, 0x0111]


def test_a_duplicate_of_something_unknown_is_not_taken_for_success(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.always_answer(0x0111)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))

    for _ in range(4):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "never sent it ours" in (view.error or "")


def test_a_duplicate_is_stored_if_the_answer_to_the_same_bytes_was_lost(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.duplicate_status = 0x0111
    pacs.drop(Drop.BEFORE_ANSWER)
    job, _ = owing.owe("pacs")
    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))
    assert owing.state(job) is JobState.DELIVERING

    owing.clock.forward(minutes=1)
    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))  # also after a restart

    assert owing.state(job) is JobState.DELIVERED
    assert 0x0111 in [request.status for request in pacs.requests]


def test_a_lost_answer_is_remembered_though_a_later_one_says_busy(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.duplicate_status = 0x0111
    pacs.drop(Drop.BEFORE_ANSWER)
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    pacs.answer(0xA700)

    for _ in range(2):
        owing.clock.forward(minutes=2)
        owing.deliver_all(deliverer)

    assert [request.status for request in pacs.requests] == [0, 0xA700, 0x0111]
    assert owing.state(job) is JobState.DELIVERED


def test_the_bytes_of_a_report_are_never_built_twice(owing: Owing, pacs: FakePacs) -> None:
    pacs.answer(0xA700)
    owing.owe("pacs", kinds=[ObjectKind.SR])
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    owing.deliver_all(deliverer)
    (built,) = owing.root.glob("results/*/*/sr-*.dcm")
    before = (built.read_bytes(), built.stat().st_mtime_ns)

    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert (built.read_bytes(), built.stat().st_mtime_ns) == before
    assert pacs.stored[report_in(pacs)] == dcmread(built)


def test_a_report_is_known_as_ours_before_it_leaves(owing: Owing, pacs: FakePacs) -> None:
    pacs.always_answer(0xA700)
    owing.owe("pacs", kinds=[ObjectKind.SR])

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert owing.queue.is_own_object(pacs.requests[0].sop_instance_uid)


@pytest.mark.parametrize("name", ["sc.dcm", "header.dcm"])
def test_a_missing_file_fails_with_its_mend(owing: Owing, pacs: FakePacs, name: str) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    (owing.root / str(job.result_folder) / name).unlink()

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert name in (view.error or "")
    assert not pacs.requests


@pytest.mark.parametrize("name", ["content.json", "header.dcm"])
def test_a_damaged_file_fails_with_its_mend(owing: Owing, pacs: FakePacs, name: str) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SR])
    (owing.root / str(job.result_folder) / name).write_bytes(b"\0" * 100)

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "damaged" in (view.error or "")


def test_an_object_of_another_patient_never_leaves_the_house(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    other, _ = owing.owe("nobody", PatientID="4712")
    shutil.copy(
        owing.root / str(other.result_folder) / "sc.dcm",
        owing.root / str(job.result_folder) / "sc.dcm",
    )

    owing.deliver_all(owing.deliverer(peer("pacs", pacs.port)))

    assert owing.state(job) is JobState.FAILED
    assert not pacs.requests


def test_a_lease_is_renewed_while_a_slow_pacs_stores(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    pacs.hold()
    section = SECTION.model_copy(update={"lease_seconds": 0.3})
    deliverer = owing.deliverer(peer("pacs", pacs.port), section=section)

    with running(deliverer):
        pacs.wait_for(lambda each: each.held_count == 1)
        before = lease_end(owing)
        owing.clock.forward(seconds=0.2)
        wait_for(lambda: lease_end(owing) > before, limit_seconds=10)
        pacs.let_go()
        pacs.wait_for(lambda each: len(each.stored) == 2)

    assert owing.state(job) is JobState.DELIVERED


def test_a_lost_lease_is_left_to_the_one_who_has_it(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    pacs.hold()
    with running(owing.deliverer(peer("pacs", pacs.port))):
        pacs.wait_for(lambda each: each.held_count == 1)
        owing.clock.forward(minutes=5)
        assert owing.queue.rescue() == 1
        pacs.let_go()
        pacs.wait_for(lambda each: len(each.requests) == 2)

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.stored) == 1


def test_a_clean_stop_gives_back_what_takes_too_long(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    pacs.hold()

    with running(owing.deliverer(peer("pacs", pacs.port)), grace_seconds=0.1):
        pacs.wait_for(lambda each: each.held_count == 1)

    row = owing.queue.job(job.job_id).destinations[0]
    assert (row.state, row.attempt) == (OutboxState.WAITING, 0)


def test_a_database_that_cannot_be_used_is_waited_for(
    owing: Owing, pacs: FakePacs, tmp_path: Path
) -> None:
    job, _ = owing.owe("pacs", kinds=[ObjectKind.SC])
    said = StringIO()
    configure_logging(strict=True, stream=said)
    owing.engine.dispose()
    database = tmp_path / "boneage.sqlite"
    database.rename(tmp_path / "away")

    with running(owing.deliverer(peer("pacs", pacs.port))):
        wait_for(lambda: "delivery.waits" in said.getvalue())
        (tmp_path / "away").rename(database)
        owing.engine.dispose()
        pacs.wait_for(lambda each: len(each.stored) == 1)

    assert owing.state(job) is JobState.DELIVERED


class _Broken(Outbox):
    def claim(self, *, lease: timedelta, destinations: Collection[str]) -> OutboxClaim | None:
        del lease, destinations
        raise ZeroDivisionError


def test_a_bug_ends_the_process_instead_of_one_lane(owing: Owing) -> None:
    deliverer = Deliverer(
        _Broken(owing.engine, now=owing.clock, actor="deliver"),
        peers=[peer("pacs", 104), peer("other", 104)],
        ae_title="BONEAGE",
        files=ResultFiles(owing.root, build=build_structured_report),
        section=SECTION,
        now=owing.clock,
    )

    with pytest.raises(ZeroDivisionError):
        deliverer.run(threading.Event())


def test_a_report_that_cannot_be_built_calls_an_operator_after_three_tries(
    owing: Owing, pacs: FakePacs
) -> None:
    def fail(content: ResultContent, header: Dataset, *, sop_class: SrClass) -> Dataset:
        raise KeyError(header.PatientName, content, sop_class)

    job, _ = owing.owe("pacs", PatientName="Kanarienvogel^Emma")
    deliverer = Deliverer(
        owing.outbox,
        peers=[peer("pacs", pacs.port)],
        ae_title="BONEAGE",
        files=ResultFiles(owing.root, build=fail),
        section=SECTION,
        now=owing.clock,
    )
    said = StringIO()
    configure_logging(strict=True, stream=said)

    for _ in range(4):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "unexpected KeyError" in (view.error or "")
    assert classes_in(pacs) == {SecondaryCaptureImageStorage}
    assert "delivery.unexpected" in said.getvalue()
    assert "kanari" not in (said.getvalue() + (view.error or "")).lower()


def test_no_name_of_a_patient_is_ever_logged(
    owing: Owing, pacs: FakePacs, caplog: pytest.LogCaptureFixture
) -> None:
    said = StringIO()
    configure_logging(level="debug", strict=True, stream=said)
    caplog.set_level(logging.INFO)
    pacs.answer(0xA700, 0xC001)
    pacs.drop(Drop.DURING_TRANSFER)
    job, _ = owing.owe("pacs", PatientName="Kanarienvogel^Emma", PatientID="KANARI-1")
    deliverer = owing.deliverer(peer("pacs", pacs.port))
    for _ in range(6):
        owing.deliver_all(deliverer)
        owing.clock.forward(minutes=15)

    trail = [f"{event.reason} {event.detail}" for event in owing.queue.events(job.job_id)]
    assert "delivery.sent" in said.getvalue()
    assert "delivery.retry" in said.getvalue()
    assert "kanari" not in " ".join([said.getvalue(), caplog.text, *trail]).lower()
