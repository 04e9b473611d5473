from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from schemas.config import CommitmentKind, PeerSection
from schemas.jobs import JobState, Priority
from tests.builders import hand_radiograph
from tests.fakes import CommitmentQuestion, FakePacs
from tests.worker.listener.conftest import RETRY, Site, StartSite
from tests.worker.listener.encoding import DX, EXPLICIT
from tests.worker.listener.sending import association, store
from tests.worker.queue.makers import SC_CLASS, settled, taken
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

ARCHIVE = PeerSection(
    name="PACS",
    ae_title="PACS",
    sender=False,
    commitment=CommitmentKind.STORAGE_COMMITMENT,
)
UID = "2.25.7"


@pytest.fixture
def site(start_site: StartSite) -> Site:
    return start_site(peers=(ARCHIVE, PeerSection(name="other", ae_title="OTHER")))


@pytest.fixture
def question(site: Site) -> CommitmentQuestion:
    """One object that was sent, and for which storage commitment was asked."""
    queue = JobQueue(site.engine, now=site.clock, actor="infer", release="r1", retry=RETRY)
    outbox = Outbox(site.engine, now=site.clock, actor="deliver")
    order = settled(queue)
    for _ in range(2):
        claim = taken(outbox)
        uid = f"2.25.1.{order.job_id}.1" if claim.kind == "SC" else UID
        if claim.kind == "SR":
            outbox.fail(claim, status=None, error="not here")
            continue
        outbox.mark_sent(claim, sop_instance_uid=uid, status=0, confirm_after=RETRY.first_delay)
    site.clock.forward(seconds=5)
    request = outbox.commitments.begin("PACS", patience=RETRY.longest_delay)
    assert request is not None
    return CommitmentQuestion(
        transaction_uid=request.transaction_uid,
        references=tuple((SC_CLASS, each.sop_instance_uid) for each in request.proofs),
    )


def holding(*uids: str, ae_title: str = "PACS") -> FakePacs:
    pacs = FakePacs(ae_title)
    for uid in uids:
        pacs._stored[uid] = Dataset()  # noqa: SLF001 - as if it had been sent long ago
    return pacs


def test_a_report_on_a_new_association_confirms(site: Site, question: CommitmentQuestion) -> None:
    pacs = holding(*(uid for _, uid in question.references))

    assert pacs.report(question, port=site.port) == [0x0000]

    (row,) = [each for each in site.jobs[0].destinations if each.kind == "SC"]
    assert row.confirmed_at == site.clock()
    assert row.state == "confirmed"


def test_a_report_that_comes_twice_is_answered_success_twice(
    site: Site, question: CommitmentQuestion
) -> None:
    pacs = holding(*(uid for _, uid in question.references))

    assert pacs.report(question, port=site.port, times=2) == [0x0000, 0x0000]


def test_a_report_of_loss_lets_the_object_go_again(
    site: Site, question: CommitmentQuestion
) -> None:
    assert holding().report(question, port=site.port) == [0x0000]

    (row,) = [each for each in site.jobs[0].destinations if each.kind == "SC"]
    assert row.state == "waiting"
    assert "0x0112" in (row.error or "")
    assert site.jobs[0].state is JobState.DELIVERING


def test_the_roles_are_answered_as_strict_archives_want_them(site: Site) -> None:
    entity = AE("PACS")
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    line = entity.associate("127.0.0.1", site.port, ae_title="BONEAGE", ext_neg=[role])
    try:
        assert line.is_established
        assert line.acceptor.primitive is not None
        items = line.acceptor.primitive.user_information
        (answered,) = [each for each in items if isinstance(each, SCP_SCU_RoleSelectionNegotiation)]
        assert (answered.scu_role, answered.scp_role) == (False, True)
    finally:
        line.release()


def test_a_peer_that_owes_no_proof_may_not_report(site: Site, question: CommitmentQuestion) -> None:
    pacs = holding(*(uid for _, uid in question.references), ae_title="OTHER")

    assert pacs.report(question, port=site.port) == [0x0124]

    assert {each.state for each in site.jobs[0].destinations} == {"sent", "failed"}


def test_a_report_that_makes_no_sense_is_refused(site: Site) -> None:
    entity = AE("PACS")
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    line = entity.associate("127.0.0.1", site.port, ae_title="BONEAGE", ext_neg=[role])
    nonsense = Dataset()
    nonsense.RetrieveAETitle = "PACS"
    try:
        answer, _ = line.send_n_event_report(
            nonsense, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    finally:
        line.release()

    assert answer.Status == 0x0115


def test_who_may_only_report_sends_no_images(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    hand_radiograph().save_as(path, enforce_file_format=True)

    assert store(site.port, path) == [0x0124]

    assert site.jobs == []
    assert site.kept == []


@pytest.mark.parametrize(
    ("sent", "kept"), [(1, Priority.HIGH), (0, Priority.MEDIUM), (2, Priority.LOW)]
)
def test_what_the_sender_calls_urgent_is_kept_as_urgent(
    start_site: StartSite, sent: int, kept: Priority
) -> None:
    site = start_site()
    with association(site.port, contexts=((DX, EXPLICIT),)) as opened:
        image = hand_radiograph()
        assert opened.send_c_store(image, priority=sent).Status == 0

    (event,) = site.queue.events(site.jobs[0].job_id)
    assert event.detail["priority"] == kept.value
