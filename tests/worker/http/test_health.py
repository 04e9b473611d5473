import httpx
import pytest

from tests.worker.http.conftest import Room, Serve
from tests.worker.queue.makers import arrival, claimed, send_all, settled
from worker.app import web


def checks(answer: httpx.Response) -> dict[str, bool]:
    return {check["name"]: check["is_ok"] for check in answer.json()["checks"]}


def test_a_worker_without_work_is_well(client: httpx.Client) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 200
    assert checks(answer) == {"reading": True, "delivery": True, "constancy": True}
    assert answer.json()["last_result"] is None


def test_a_queue_that_stands_still_is_not_well(room: Room, client: httpx.Client) -> None:
    room.queue.receive(arrival())
    room.clock.forward(minutes=10)
    before = client.get("/healthz").status_code
    room.clock.forward(minutes=10)
    answer = client.get("/healthz")

    assert (before, answer.status_code) == (200, 503)
    assert checks(answer) == {"reading": False, "delivery": True, "constancy": True}
    assert "20 minutes" in answer.json()["checks"][0]["message"]


def test_a_worker_that_holds_a_job_too_long_is_not_well(room: Room, client: httpx.Client) -> None:
    room.queue.receive(arrival())
    claimed(room.queue)
    room.clock.forward(hours=1)

    assert checks(client.get("/healthz"))["reading"] is False


def test_a_long_queue_that_moves_is_well(room: Room, client: httpx.Client) -> None:
    for number in range(3):
        room.queue.receive(arrival(f"1.{number}"))
    room.clock.forward(hours=1)
    settled(room.queue, uid="1.9")

    assert checks(client.get("/healthz"))["reading"] is True


def test_objects_that_nobody_takes_are_not_well_until_one_is_taken(
    room: Room, client: httpx.Client
) -> None:
    settled(room.queue)
    room.clock.forward(hours=1)
    away = client.get("/healthz")
    send_all(room.outbox)
    back = client.get("/healthz")

    assert checks(away) == {"reading": True, "delivery": False, "constancy": True}
    assert (back.status_code, back.json()["last_delivered"]["seconds"]) == (200, 0.0)


def test_a_worker_whose_database_and_disk_are_right_is_ready(client: httpx.Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert checks(answer) == {"database": True, "disk": True, "constancy": True}


def test_a_full_disk_is_not_ready(room: Room, serve: Serve) -> None:
    storage = room.config.storage.model_copy(update={"high_mark_percent": 0.001})
    answer = serve(web.http_application(room.config.model_copy(update={"storage": storage}))).get(
        "/readyz"
    )

    assert answer.status_code == 503
    assert checks(answer) == {"database": True, "disk": False, "constancy": True}


def test_a_worker_without_its_database_is_alive_but_neither_well_nor_ready(
    client_without_database: httpx.Client,
) -> None:
    paths = ("/livez", "/readyz", "/healthz")

    statuses = [client_without_database.get(path).status_code for path in paths]

    assert statuses == [200, 503, 503]


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/metrics", "/status"])
def test_health_asks_for_no_token(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200
