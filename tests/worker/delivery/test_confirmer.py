from datetime import timedelta

import pytest
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

from schemas.config import CommitmentKind, DeliverySection, PeerSection
from schemas.jobs import CommitmentReport, DestinationView, JobState, JobView, OutboxState
from tests.fakes import CommitmentQuestion, Drop, FakePacs
from tests.orthanc import wait_for
from tests.worker.delivery.owing import Owing
from worker.delivery.deliverer import Deliverer

MINUTES = 30
SECTION = DeliverySection(
    lease_seconds=60,
    connect_timeout_seconds=5,
    poll_seconds=0.02,
    commitment_timeout_seconds=MINUTES * 60,
)
DELAY = timedelta(seconds=5)
COMMITMENT, FIND = CommitmentKind.STORAGE_COMMITMENT, CommitmentKind.FIND


def archive(
    pacs: FakePacs, kind: CommitmentKind = COMMITMENT, *, find: bool = False
) -> PeerSection:
    return PeerSection(
        name="pacs", ae_title="PACS", port=pacs.port, commitment=kind, find_when_silent=find
    )


def rows(owing: Owing, job: JobView) -> tuple[DestinationView, ...]:
    return owing.queue.job(job.job_id).destinations


def states(owing: Owing, job: JobView) -> set[OutboxState]:
    return {row.state for row in rows(owing, job)}


def send_and_ask(owing: Owing, deliverer: Deliverer) -> None:
    owing.deliver_all(deliverer)
    owing.clock.forward(seconds=1)
    owing.deliver_all(deliverer)


def whole_report(question: CommitmentQuestion) -> CommitmentReport:
    uids = tuple(uid for _, uid in question.references)
    return CommitmentReport(transaction_uid=question.transaction_uid, committed=uids, failed={})


def settle(owing: Owing, question: CommitmentQuestion) -> int:
    """Take a report as the listener does, from whatever process."""
    return owing.outbox.commitments.settle(
        whole_report(question), destinations=["pacs"], delay=DELAY
    )


def test_what_was_sent_is_not_yet_confirmed(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    owing.deliver_all(owing.deliverer(archive(pacs), section=SECTION))

    assert len(pacs.stored) == 2
    assert states(owing, job) == {OutboxState.SENT}
    assert {row.confirmed_at for row in rows(owing, job)} == {None}
    assert owing.state(job) is JobState.DELIVERING


def test_report_and_capture_are_asked_for_together(owing: Owing, pacs: FakePacs) -> None:
    owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))

    (question,) = pacs.questions
    assert {uid for _, uid in question.references} == set(pacs.stored)
    assert {(str(each.SOPClassUID), uid) for uid, each in pacs.stored.items()} == set(
        question.references
    )


def test_a_report_on_the_same_association_confirms(owing: Owing, pacs: FakePacs) -> None:
    pacs.reports_at_once = True
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert states(owing, job) == {OutboxState.CONFIRMED}
    assert [event.event for event in owing.queue.events(job.job_id)][-3:] == [
        "confirmed",
        "confirmed",
        "delivered",
    ]


@pytest.mark.parametrize("times", [1, 2])
def test_a_report_that_comes_before_the_answer_to_its_request_confirms(
    owing: Owing, pacs: FakePacs, times: int
) -> None:
    pacs.reports_before_answer = times
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert states(owing, job) == {OutboxState.CONFIRMED}
    assert len(pacs.questions) == 1
    assert [event.event for event in owing.queue.events(job.job_id)].count("confirmed") == 2


def test_a_report_that_comes_minutes_later_confirms(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))
    owing.clock.forward(minutes=MINUTES - 1)

    assert settle(owing, pacs.questions[0]) == 2

    assert owing.state(job) is JobState.DELIVERED


def test_a_report_that_comes_twice_changes_nothing_more(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))
    settle(owing, pacs.questions[0])
    before = owing.queue.events(job.job_id)

    assert settle(owing, pacs.questions[0]) == 0

    assert owing.queue.events(job.job_id) == before


def test_without_a_report_the_same_bytes_go_again(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    send_and_ask(owing, deliverer)
    first = [request.dataset for request in pacs.requests]
    owing.clock.forward(minutes=MINUTES)
    owing.deliver_all(deliverer)
    assert {row.state for row in rows(owing, job)} == {OutboxState.WAITING}
    assert all("did not prove" in (row.error or "") for row in rows(owing, job))

    owing.clock.forward(minutes=1)
    pacs.reports_at_once = True
    send_and_ask(owing, deliverer)

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert [request.dataset for request in pacs.requests] == first * 2
    assert len(pacs.stored) == 2


def test_a_report_later_than_our_patience_still_counts(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    send_and_ask(owing, deliverer)
    owing.clock.forward(minutes=MINUTES)
    owing.deliver_all(deliverer)

    assert settle(owing, pacs.questions[0]) == 2

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.requests) == 2


def test_a_lost_object_is_sent_again_when_the_archive_says_so(owing: Owing, pacs: FakePacs) -> None:
    pacs.reports_at_once = True
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    owing.deliver_all(deliverer)
    lost = next(iter(pacs.stored))
    pacs.lose(lost)
    owing.clock.forward(seconds=1)
    owing.deliver_all(deliverer)
    wait_for(lambda: states(owing, job) == {OutboxState.WAITING, OutboxState.CONFIRMED})
    assert any("0x0112" in (row.error or "") for row in rows(owing, job))

    owing.clock.forward(minutes=1)
    send_and_ask(owing, deliverer)

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert lost in pacs.stored


def test_an_old_report_of_failure_does_not_undo_a_newer_request(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    send_and_ask(owing, deliverer)
    owing.clock.forward(minutes=MINUTES)
    owing.deliver_all(deliverer)
    owing.clock.forward(minutes=1)
    send_and_ask(owing, deliverer)
    old, _ = pacs.questions
    failed = CommitmentReport(
        transaction_uid=old.transaction_uid,
        committed=(),
        failed={uid: 0x0112 for _, uid in old.references},
    )

    moved = owing.outbox.commitments.settle(failed, destinations=["pacs"], delay=DELAY)

    assert moved == 0
    assert states(owing, job) == {OutboxState.SENT}


def test_nobody_proves_for_another(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))

    moved = owing.outbox.commitments.settle(
        whole_report(pacs.questions[0]), destinations=["other"], delay=DELAY
    )

    assert moved == 0
    assert owing.state(job) is JobState.DELIVERING


@pytest.mark.parametrize("how", ["context", "status"])
def test_an_archive_that_takes_no_request_is_asked_again_and_seen(
    owing: Owing, pacs: FakePacs, how: str
) -> None:
    if how == "context":
        pacs.refuse(StorageCommitmentPushModel)
    else:
        pacs.commitment_status = 0x0110
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    send_and_ask(owing, deliverer)
    assert all("storage commitment" in (row.error or "") for row in rows(owing, job))
    assert states(owing, job) == {OutboxState.SENT}

    pacs.refuse()
    pacs.commitment_status, pacs.reports_at_once = 0, True
    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert len(pacs.requests) == 2


def test_an_archive_that_is_away_is_asked_when_it_is_back(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    owing.deliver_all(deliverer)
    pacs.go_down()
    owing.clock.forward(seconds=1)
    owing.deliver_all(deliverer)

    pacs.come_up()
    pacs.reports_at_once = True
    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)


def test_an_archive_that_never_proves_anything_calls_an_operator(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    send_and_ask(owing, deliverer)
    owing.clock.forward(days=7)
    owing.deliver_all(deliverer)

    view = owing.queue.job(job.job_id)
    assert view.state is JobState.FAILED
    assert "has not proved" in (view.error or "")


def test_a_silent_archive_is_looked_into_before_anything_goes_again(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs, find=True), section=SECTION)
    send_and_ask(owing, deliverer)
    owing.clock.forward(minutes=MINUTES)

    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.requests) == 2


def test_what_a_silent_archive_does_not_show_goes_again(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs, find=True), section=SECTION)
    send_and_ask(owing, deliverer)
    lost = next(iter(pacs.stored))
    pacs.lose(lost)
    owing.clock.forward(minutes=MINUTES)
    owing.deliver_all(deliverer)
    assert states(owing, job) == {OutboxState.WAITING, OutboxState.CONFIRMED}

    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert lost in pacs.stored
    assert [request.sop_instance_uid for request in pacs.requests].count(lost) == 2


def test_where_there_is_no_commitment_the_archive_is_looked_into(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs, FIND), section=SECTION)
    owing.deliver_all(deliverer)
    assert owing.state(job) is JobState.DELIVERING

    owing.clock.forward(seconds=1)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert not pacs.questions


def test_what_is_not_shown_at_once_is_looked_for_again_before_it_goes_again(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs, FIND), section=SECTION)
    owing.deliver_all(deliverer)
    held = pacs.stored
    pacs.lose()
    for _ in range(4):
        owing.clock.forward(minutes=5)
        owing.deliver_all(deliverer)
    assert len(pacs.requests) == 2

    owing.clock.forward(minutes=16)
    owing.deliver_all(deliverer)
    owing.clock.forward(minutes=16)
    send_and_ask(owing, deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert set(pacs.stored) == set(held)


def test_an_archive_that_refuses_to_be_looked_into_gets_nothing_twice(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.refuse(StudyRootQueryRetrieveInformationModelFind)
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs, FIND), section=SECTION)
    send_and_ask(owing, deliverer)
    assert all("C-FIND" in (row.error or "") for row in rows(owing, job))

    pacs.refuse()
    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert len(pacs.requests) == 2


def test_proof_that_is_no_longer_asked_for_holds_nothing_up(owing: Owing, pacs: FakePacs) -> None:
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))
    owing.clock.forward(minutes=MINUTES)

    owing.deliver_all(owing.deliverer(archive(pacs, CommitmentKind.NONE), section=SECTION))

    assert owing.state(job) is JobState.DELIVERED


def test_a_duplicate_after_a_lost_answer_is_proved_by_the_archive(
    owing: Owing, pacs: FakePacs
) -> None:
    pacs.duplicate_status = 0x0111
    pacs.drop(Drop.BEFORE_ANSWER)
    pacs.reports_at_once = True
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive(pacs), section=SECTION)
    owing.deliver_all(deliverer)
    owing.clock.forward(minutes=1)
    send_and_ask(owing, deliverer)

    wait_for(lambda: owing.state(job) is JobState.DELIVERED)
    assert 0x0111 in {row.status for row in rows(owing, job)}


def test_a_cancelled_job_stays_cancelled_whatever_is_proved_later(
    owing: Owing, pacs: FakePacs
) -> None:
    job, _ = owing.owe("pacs")
    send_and_ask(owing, owing.deliverer(archive(pacs), section=SECTION))
    owing.queue.cancel(job.job_id, reason="wrong patient")

    assert settle(owing, pacs.questions[0]) == 0

    assert owing.state(job) is JobState.CANCELLED
