from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.inquiries import JobFilter
from schemas.jobs import JobState
from schemas.tables import Reception
from tests.builders import hand_radiograph, write_file
from tests.fakes import Clock
from tests.worker.queue.makers import arrival, claimed, settled
from worker.operations.search import read_terms
from worker.queue.jobs import JobQueue
from worker.queue.search import SearchIndex, SearchTerms

KEY = b"k" * 32
SAID = {
    "spool/1": SearchTerms(accession_number="A-17", patient_id="P 1"),
    "spool/2": SearchTerms(accession_number="A-18", patient_id="P 1"),
    "spool/3": SearchTerms(accession_number="", patient_id=""),
}


@pytest.fixture
def index(engine: Engine, clock: Clock) -> SearchIndex:
    return SearchIndex(engine, key=KEY, now=clock)


@pytest.fixture
def indexed(queue: JobQueue, index: SearchIndex) -> SearchIndex:
    for number in (1, 2, 3):
        queue.receive(arrival(f"1.2.{number}", spool_file=f"spool/{number}"))
    assert index.fill(lambda file, _syntax: SAID[file]) == 3
    return index


def found(queue: JobQueue, fits: JobFilter) -> list[int]:
    return [job.job_id for job in queue.find(fits, limit=100)]


def test_a_job_is_found_by_its_accession_number(queue: JobQueue, indexed: SearchIndex) -> None:
    assert found(queue, JobFilter(accession_hash=indexed.accession_hash("A-18"))) == [2]


def test_every_job_of_a_patient_is_found(queue: JobQueue, indexed: SearchIndex) -> None:
    assert found(queue, JobFilter(patient_id_hash=indexed.patient_id_hash("P 1"))) == [2, 1]


@pytest.mark.parametrize("typed", ["a-17", " A-17 ", "\uff21-17"])
def test_case_blanks_and_width_do_not_count(
    queue: JobQueue, indexed: SearchIndex, typed: str
) -> None:
    assert found(queue, JobFilter(accession_hash=indexed.accession_hash(typed))) == [1]


def test_an_image_without_an_accession_number_is_found_by_nothing(indexed: SearchIndex) -> None:
    assert indexed.accession_hash("") is None
    assert indexed.patient_id_hash("  ") is None


def test_an_accession_number_is_no_patient_id(indexed: SearchIndex) -> None:
    assert indexed.accession_hash("17") != indexed.patient_id_hash("17")


def test_without_the_key_the_tables_say_nothing(indexed: SearchIndex, engine: Engine) -> None:
    other = SearchIndex(engine, key=b"o" * 32, now=Clock())
    with Session(engine) as session:
        hashes = set(session.scalars(sa.select(Reception.accession_hash)))

    assert indexed.accession_hash("A-17") in hashes
    assert other.accession_hash("A-17") not in hashes


def test_what_is_indexed_is_not_read_again(indexed: SearchIndex) -> None:
    assert indexed.fill(lambda file, _syntax: pytest.fail(file)) == 0


def test_a_job_is_found_by_a_corrected_accession_number(
    queue: JobQueue, indexed: SearchIndex
) -> None:
    changed = arrival("1.2.1", digest="b" * 64, spool_file="spool/2")
    queue.receive(changed)
    indexed.fill(lambda file, _syntax: SAID[file])

    assert found(queue, JobFilter(accession_hash=indexed.accession_hash("A-18"))) == [2, 1]
    assert found(queue, JobFilter(accession_hash=indexed.accession_hash("A-17"))) == [1]


def test_a_file_that_is_gone_is_asked_for_once(queue: JobQueue, index: SearchIndex) -> None:
    queue.receive(arrival())

    assert index.fill(lambda _file, _syntax: None) == 1
    assert index.fill(lambda file, _syntax: pytest.fail(file)) == 0


def test_a_disk_that_fails_is_asked_again(queue: JobQueue, index: SearchIndex) -> None:
    def fail(_file: str, _syntax: str) -> None:
        raise OSError(5, "Input/output error")

    queue.receive(arrival())
    with pytest.raises(OSError, match="Input/output"):
        index.fill(fail)

    assert index.fill(lambda _file, _syntax: None) == 1


def test_jobs_are_found_by_time_release_and_number(queue: JobQueue, clock: Clock) -> None:
    start = clock()
    queue.receive(arrival("1.2.1"))
    later = clock.forward(hours=1)
    queue.receive(arrival("1.2.2"))

    assert found(queue, JobFilter(since=start, until=later)) == [1]
    assert found(queue, JobFilter(release="r1", job_ids=(2, 9))) == [2]
    assert found(queue, JobFilter(release="r9")) == []
    assert queue.count(JobFilter(states=(JobState.QUEUED,))) == 2


def test_jobs_with_a_content_that_was_set_aside_are_found(queue: JobQueue) -> None:
    settled(queue)
    queue.receive(arrival(digest="b" * 64))
    queue.receive(arrival("1.2.9"))
    queue.cancel(2, reason="test")
    queue.cancel(1, reason="test")
    queue.quarantine(claimed(queue), reason="other pixels")

    assert found(queue, JobFilter(is_quarantined=True)) == [1]
    assert queue.quarantined([1, 2]) == {1}
    assert [one.state.value for one in queue.receptions(1)] == ["kept", "quarantined"]


def test_the_terms_are_read_from_the_spooled_image(tmp_path: Path) -> None:
    image = hand_radiograph(
        AccessionNumber="Ä-17", PatientID="Жук-1", SpecificCharacterSet="ISO_IR 192"
    )
    path = write_file(image, tmp_path / "hand.dcm")

    terms = read_terms(tmp_path, path.name, str(image.file_meta.TransferSyntaxUID))

    assert terms == SearchTerms(accession_number="Ä-17", patient_id="Жук-1")


def test_what_is_no_image_has_no_terms(tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")

    assert read_terms(tmp_path, "broken.dcm", "1.2.840.10008.1.2.1") is None
    assert read_terms(tmp_path, "gone.dcm", "1.2.840.10008.1.2.1") is None
