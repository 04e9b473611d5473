from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE
from sqlalchemy import Engine

from schemas.config import IntakeRule, ListenerSection, PeerSection, RuleAction, StorageSection
from schemas.jobs import JobState
from schemas.phantom import CONSTANCY_AE, CONSTANCY_PEER, SELFTEST_AE
from schemas.refusals import IgnoreReason
from schemas.releases import Phantom
from tests.builders import hand_radiograph
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY
from worker.inference.destinations import destinations_of
from worker.inference.intake import judge
from worker.listener.admission import Admission, Applicant
from worker.listener.errors import CallingAeRefusedError
from worker.listener.spool import Spool
from worker.operations.constancy import ConstancyCheck
from worker.operations.constancy_peers import constancy_peer, constancy_rules, selftest_peer
from worker.operations.constancy_sink import ConstancySink
from worker.queue.jobs import JobQueue

PACS = PeerSection(name="pacs", ae_title="PACS")
ARCHIVE = PeerSection(name="archive", ae_title="ARCHIVE")
PEERS = (PACS, ARCHIVE, constancy_peer(), selftest_peer())
NOTHING = IntakeRule(name="nothing", action=RuleAction.IGNORE)
RULES = (*constancy_rules((PACS, ARCHIVE)), NOTHING)
PHANTOM = Phantom(
    age_months=120, sex="M", digest="d", known_value_months=131.3, tolerance_months=0.1
)


@pytest.fixture
def queue(engine: Engine) -> JobQueue:
    return JobQueue(engine, now=Clock(), actor="schedule", release="r1", retry=RETRY)


@pytest.fixture
def check(tmp_path: Path, queue: JobQueue) -> ConstancyCheck:
    storage = StorageSection(root=tmp_path, high_mark_percent=100, low_mark_percent=99)
    spool = Spool(storage)
    spool.sweep()
    return ConstancyCheck(
        spool=spool, queue=queue, phantom=PHANTOM, called_ae="BONEAGE", now=Clock()
    )


def sent(check: ConstancyCheck, queue: JobQueue, root: Path, *, to: PeerSection | None) -> Dataset:
    """Return the phantom as `infer` finds it."""
    check.begin(to=to)
    claim = queue.claim(lease=RETRY.longest_delay)
    assert claim is not None
    dataset = dcmread(root / claim.spool_file)
    dataset.calling_ae = claim.calling_ae
    return dataset


@pytest.mark.parametrize(
    ("to", "destination"), [(None, CONSTANCY_PEER), (PACS, "pacs"), (ARCHIVE, "archive")]
)
def test_the_phantom_is_read_whatever_the_site_reads_and_goes_where_it_was_sent(
    tmp_path: Path,
    check: ConstancyCheck,
    queue: JobQueue,
    to: PeerSection | None,
    destination: str,
) -> None:
    phantom = sent(check, queue, tmp_path, to=to)

    rule = judge(phantom, calling_ae=phantom.calling_ae, rules=RULES)

    assert isinstance(rule, IntakeRule)
    found = destinations_of(rule=rule, calling_ae=phantom.calling_ae, peers=PEERS)
    assert [one.name for one in found] == [destination]
    assert phantom.PatientName == "PHANTOM^BONEAGE"


def test_each_check_is_a_job_of_its_own(check: ConstancyCheck, queue: JobQueue) -> None:
    check.begin()
    check.now.forward(seconds=1)  # type: ignore[attr-defined] # a Clock
    check.begin()

    assert [one.state for one in queue.jobs()] == [JobState.QUEUED, JobState.QUEUED]


def test_an_image_of_a_patient_never_meets_the_rules_of_the_check() -> None:
    found = judge(hand_radiograph(), calling_ae="PACS", rules=RULES)

    assert found is IgnoreReason.RULE


@pytest.mark.parametrize("name", [CONSTANCY_AE, SELFTEST_AE])
def test_nobody_may_send_by_the_name_of_the_check_even_where_strangers_may(name: str) -> None:
    admission = Admission(ListenerSection(accept_unknown_calling_ae=True), peers=PEERS)
    applicant = Applicant(calling_ae=name, called_ae="BONEAGE", address="127.0.0.1")

    with pytest.raises(CallingAeRefusedError):
        admission.admit(AE().associate, applicant)  # type: ignore[arg-type] # never looked at


def test_the_destination_of_the_check_takes_a_result_and_keeps_nothing() -> None:
    result = hand_radiograph()
    result.SOPClassUID = SecondaryCaptureImageStorage
    result.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    with ConstancySink() as sink:
        entity = AE("BONEAGE")
        entity.add_requested_context(result.SOPClassUID)
        line = entity.associate(sink.peer.host, sink.peer.port, ae_title=sink.peer.ae_title)
        status = line.send_c_store(result).Status
        line.release()

    assert status == 0
