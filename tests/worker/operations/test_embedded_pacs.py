from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.config import PeerSection
from tests.builders import hand_radiograph, write_file
from tests.fakes import FakePacs
from worker.operations.embedded_pacs import AE_TITLE, EmbeddedPacs
from worker.operations.peer import send_files


@pytest.fixture
def worker() -> Iterator[FakePacs]:
    with FakePacs("BONEAGE") as worker:
        yield worker


@pytest.fixture
def pacs(worker: FakePacs, tmp_path: Path) -> Iterator[EmbeddedPacs]:
    peer = PeerSection(name="worker", ae_title="BONEAGE", port=worker.port)
    with EmbeddedPacs(tmp_path / "pacs", worker=peer) as pacs:
        yield pacs


def send(path: Path, pacs: EmbeddedPacs, *, calling_ae: str) -> int | None:
    peer = PeerSection(name="pacs", ae_title=AE_TITLE, port=pacs.port)
    (sent,) = send_files([path], peer=peer, calling_ae=calling_ae)
    return sent.status


def test_an_image_from_a_modality_is_routed_to_the_worker(
    pacs: EmbeddedPacs, worker: FakePacs, tmp_path: Path
) -> None:
    path = write_file(hand_radiograph(SOPInstanceUID="1.2.3"), tmp_path / "hand.dcm")

    assert send(path, pacs, calling_ae="MODALITY") == 0

    worker.wait_for(lambda one: "1.2.3" in one.stored)


def test_what_comes_from_the_worker_is_kept_and_not_routed_back(
    pacs: EmbeddedPacs, worker: FakePacs, tmp_path: Path
) -> None:
    path = write_file(hand_radiograph(SOPInstanceUID="1.2.4"), tmp_path / "result.dcm")

    assert send(path, pacs, calling_ae="BONEAGE") == 0

    assert pacs.wait_for_more(0, seconds=10) == 1
    assert [str(dataset.SOPInstanceUID) for dataset in pacs.results()] == ["1.2.4"]
    assert worker.requests == ()


def test_an_image_that_the_worker_refuses_is_named_with_its_answer(
    pacs: EmbeddedPacs, worker: FakePacs, tmp_path: Path
) -> None:
    worker.always_answer(0xA700)
    path = write_file(hand_radiograph(SOPInstanceUID="1.2.5"), tmp_path / "hand.dcm")

    send(path, pacs, calling_ae="MODALITY")

    pacs.wait_for_more(0, seconds=10)
    assert pacs.unrouted() == {"1.2.5": "the worker answered 0xA700"}
