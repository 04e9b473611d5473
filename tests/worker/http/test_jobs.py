import httpx
import pytest

from tests.worker.http.conftest import TOKEN, Room
from worker.operations.records import job_record

WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


def test_the_list_has_the_keys_of_the_command_line(room: Room, client: httpx.Client) -> None:
    room.fill()

    listed = client.get("/jobs", headers=WITH_TOKEN)

    assert listed.status_code == 200
    assert listed.json() == [job_record(job) for job in room.queue.jobs()]
    assert len(listed.json()) == 6


def test_filters_choose(room: Room, client: httpx.Client) -> None:
    room.fill()
    asked: dict[str, str | int | list[str]] = {
        "state": ["failed", "ignored"],
        "calling_ae": "MODALITY",
        "limit": 1,
    }

    (only,) = client.get("/jobs", params=asked, headers=WITH_TOKEN).json()

    assert (only["job_id"], only["state"]) == (4, "failed")


def test_a_job_is_shown_with_its_story(room: Room, client: httpx.Client) -> None:
    room.fill()

    job = client.get("/jobs/1", headers=WITH_TOKEN).json()

    assert job["bone_age_months"] == 120.5
    assert job["timings_ms"] == {"estimate": 12.5}
    assert [event["event"] for event in job["events"]][:3] == ["received", "claimed", "settled"]


@pytest.mark.parametrize("number", [99, 2**40])
def test_a_job_that_is_not_there_is_not_found(client: httpx.Client, number: int) -> None:
    answer = client.get(f"/jobs/{number}", headers=WITH_TOKEN)

    assert answer.status_code == 404
    assert answer.json()["error"] == "queue.no_such_job"


@pytest.mark.parametrize(
    "asked",
    [
        {"state": "asleep"},
        {"since": "yesterday"},
        {"limit": "0"},
        {"limit": "00001"},
        {"limit": "1001"},
        {"limit": "²"},
        {"patient": "x"},
    ],
)
def test_a_filter_that_cannot_be_is_a_bad_request(
    client: httpx.Client, asked: dict[str, str]
) -> None:
    answer = client.get("/jobs", params=asked, headers=WITH_TOKEN)

    assert answer.status_code == 400
    assert answer.json()["error"] == "http.bad_request"


@pytest.mark.parametrize("path", ["/jobs", "/jobs/1"])
@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_without_the_token_nothing_is_listed(
    room: Room, client: httpx.Client, path: str, given: str
) -> None:
    room.fill()
    answer = client.get(path, headers={"Authorization": given} if given else {})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert set(answer.json()) == {"error", "message"}


def test_jobs_cannot_be_changed(client: httpx.Client) -> None:
    assert client.post("/jobs/1", headers=WITH_TOKEN).status_code == 405


def test_an_address_that_is_not_there_is_answered_in_json(client: httpx.Client) -> None:
    answer = client.get("/nowhere")

    assert (answer.status_code, answer.json()["error"]) == (404, "http.404")
