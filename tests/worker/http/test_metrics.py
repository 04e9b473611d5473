from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.worker.http.conftest import CANARY, IGNORED, Room
from tests.worker.queue.makers import send_all, settled
from worker.http import metrics


def samples(client: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the answer as Prometheus does."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: httpx.Client, name: str, labels: Mapping[str, str] | None = None) -> float:
    return samples(client)[name, frozenset((labels or {}).items())]


def test_every_state_has_its_depth(room: Room, client: httpx.Client) -> None:
    room.fill()
    found = samples(client)
    depth = {
        dict(labels)["state"]: count
        for (name, labels), count in found.items()
        if name == "boneage_jobs"
    }

    assert depth == {
        "queued": 1,
        "running": 0,
        "delivering": 1,
        "delivered": 1,
        "ignored": 1,
        "failed": 1,
        "cancelled": 1,
    }


def test_the_oldest_job_of_a_state_grows_old(room: Room, client: httpx.Client) -> None:
    room.fill()
    room.clock.forward(minutes=4)

    assert value(client, "boneage_jobs_oldest_seconds", {"state": "queued"}) == 240
    assert value(client, "boneage_outbox_oldest_seconds", {"destination": "PACS"}) == 240


def test_what_ended_is_counted_by_outcome_with_its_reason(room: Room, client: httpx.Client) -> None:
    room.fill()
    labels = {"release": "r1", "is_phantom": "false"}

    estimated = labels | {"outcome": "estimated", "reason": ""}
    refused = labels | {"outcome": "refused", "reason": "not_a_hand"}
    assert value(client, "boneage_results_total", estimated) == 1
    assert value(client, "boneage_results_total", refused) == 1
    ending = "boneage_endings_total"
    assert value(client, ending, {"event": "ignored", "reason": IGNORED.value}) == 1
    assert value(client, ending, {"event": "failed", "reason": "spool.missing"}) == 1


def test_nothing_is_counted_twice_by_a_second_scrape(room: Room, client: httpx.Client) -> None:
    estimated = {"outcome": "estimated", "reason": "", "release": "r1", "is_phantom": "false"}
    counts = []
    for number in range(3):
        settled(room.queue, uid=f"1.{number}")
        counts.append(value(client, "boneage_results_total", estimated))

    assert counts == [1, 2, 3]


def test_counters_are_shown_once_all_that_there_is_has_been_counted(
    room: Room, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_BATCH", 1)
    monkeypatch.setattr(metrics, "_COUNTING_SECONDS", 0.0)  # so each scrape counts one more
    for number in range(3):
        settled(room.queue, uid=f"1.{number}")
    estimated = {"outcome": "estimated", "reason": "", "release": "r1", "is_phantom": "false"}
    of_results = "boneage_results_total", frozenset(estimated.items())

    told = [samples(client).get(of_results) for _ in range(4)]

    assert told == [None, None, None, 3]
    settled(room.queue, uid="1.3")
    assert value(client, "boneage_results_total", estimated) == 4


def test_the_time_of_each_stage_is_a_histogram(room: Room, client: httpx.Client) -> None:
    settled(room.queue, timings_ms={"read": 300.0})

    stage = {"stage": "read"}
    assert value(client, "boneage_stage_seconds_sum", stage) == pytest.approx(0.3)
    assert value(client, "boneage_stage_seconds_bucket", stage | {"le": "0.25"}) == 0
    assert value(client, "boneage_stage_seconds_bucket", stage | {"le": "0.5"}) == 1


def test_drift_is_bone_age_less_chronological_age_by_sex(room: Room, client: httpx.Client) -> None:
    settled(room.queue, uid="1.1", chronological_age_months=118.0)

    assert value(client, "boneage_drift_mean_months", {"sex": "M"}) == pytest.approx(2.5)
    assert value(client, "boneage_drift_estimates", {"sex": "M"}) == 1


def test_a_destination_is_down_until_it_takes_what_it_is_owed(
    room: Room, client: httpx.Client
) -> None:
    room.fill()
    pacs = {"destination": "PACS"}
    down = value(client, "boneage_destination_up", pacs)
    room.clock.forward(hours=2)
    send_all(room.outbox)

    assert down == 0
    assert value(client, "boneage_destination_up", pacs) == 1
    assert value(client, "boneage_outbox_waiting", pacs) == 0


def test_the_last_good_end_of_each_periodic_job_is_told(room: Room, client: httpx.Client) -> None:
    room.fill()

    at = value(client, "boneage_periodic_success_timestamp_seconds", {"name": "seal"})

    assert at == room.clock().timestamp()


def test_a_database_that_is_away_is_a_metric(
    client: httpx.Client, client_without_database: httpx.Client
) -> None:
    assert value(client, "boneage_database_up") == 1
    assert value(client_without_database, "boneage_database_up") == 0


def test_no_name_is_in_the_metrics(room: Room, client: httpx.Client) -> None:
    room.fill()

    assert CANARY.partition("^")[0] not in client.get("/metrics").text
