from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from schemas.jobs import JobState
from schemas.phantom import CONSTANCY_AE
from tests.worker.http.conftest import Room
from tests.worker.http.test_metrics import samples, value
from tests.worker.queue.makers import arrival, claimed, result, send_all, settled
from worker.app import health
from worker.health.graphics import GraphicsCard, graphics_cards
from worker.queue.echoes import Echoes


def phantom_came_back(room: Room, *, months: float) -> None:
    """Let one round of the constancy check end."""
    room.queue.receive(arrival("9.9", calling_ae=CONSTANCY_AE))
    claim = claimed(room.queue)
    digest = health.expected_phantom(room.config).release_digest
    found = result(claim, release_digest=digest, bone_age_months=months, is_phantom=True)
    room.queue.settle(claim, found)
    send_all(room.outbox)
    assert room.queue.job(claim.job_id).state is JobState.DELIVERED


def test_a_destination_that_does_not_answer_is_down(room: Room, client: httpx.Client) -> None:
    echoes = Echoes(room.engine, now=room.clock)
    echoes.note("PACS", is_up=True, found="")
    echoes.note("archive", is_up=False, found="peer.away")

    assert value(client, "boneage_peer_up", {"peer": "PACS"}) == 1
    assert value(client, "boneage_peer_up", {"peer": "archive"}) == 0


def test_a_phantom_that_came_out_right_is_well(room: Room, client: httpx.Client) -> None:
    known = health.expected_phantom(room.config).phantom.known_value_months
    phantom_came_back(room, months=known + 0.05)

    assert value(client, "boneage_constancy_ok") == 1
    assert value(client, "boneage_constancy_deviation_months") == pytest.approx(0.05)


def test_a_phantom_that_came_out_wrong_is_neither_well_nor_ready(
    room: Room, client: httpx.Client
) -> None:
    known = health.expected_phantom(room.config).phantom.known_value_months
    phantom_came_back(room, months=known + 3)

    assert value(client, "boneage_constancy_ok") == 0
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [503, 503]
    assert "cannot be trusted" in client.get("/status").text


def test_the_phantom_is_no_image_of_a_patient_on_the_status_page(
    room: Room, client: httpx.Client
) -> None:
    phantom_came_back(room, months=131.3)

    page = client.get("/status").text

    assert "No image has come yet." in page
    assert CONSTANCY_AE not in page


def test_the_difference_between_the_ages_is_counted_by_sex_without_the_phantom(
    room: Room, client: httpx.Client
) -> None:
    phantom_came_back(room, months=131.3)
    settled(room.queue, uid="1.1", sex="F", bone_age_months=130.0, chronological_age_months=118.0)

    found = samples(client)
    counts = {
        dict(labels)["sex"]: count
        for (name, labels), count in found.items()
        if name == "boneage_difference_months_count"
    }
    assert counts == {"F": 1}
    buckets = [
        value(client, "boneage_difference_months_bucket", {"sex": "F", "le": edge})
        for edge in ("6.0", "12.0")
    ]
    assert buckets == [0, 1]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a driver's tool in place that runs this script: we own no GPU here."""

    def install(script: str) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_the_memory_of_each_gpu_is_told(driver: Callable[[str], None]) -> None:
    driver("echo '0, 1024, 81559, 41'; echo '1, [N/A], [N/A], [N/A]'")

    (card,) = graphics_cards()

    assert card == GraphicsCard(
        device="cuda:0", used_bytes=1024 * 2**20, total_bytes=81559 * 2**20, celsius=41.0
    )


def test_a_driver_that_fails_tells_of_no_gpu(driver: Callable[[str], None]) -> None:
    driver("exit 9")

    assert graphics_cards() == ()
