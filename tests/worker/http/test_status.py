import httpx

from tests.worker.http.conftest import CANARY, Room
from tests.worker.queue.makers import arrival


def test_the_page_shows_what_an_operator_looks_for(room: Room, client: httpx.Client) -> None:
    room.fill()
    room.clock.forward(minutes=3)

    page = client.get("/status")

    assert page.headers["content-type"].startswith("text/html")
    for shown in (
        "120.5 months (10 y 0 m)",
        "not_a_hand",
        "spool.missing",
        "oldest 3 minutes",
        "does not take what is sent",
        "nothing sent yet",
        "+2.5 months on average over 1",
        "Work goes round",
    ):
        assert shown in page.text


def test_no_name_and_no_uid_is_on_the_page(room: Room, client: httpx.Client) -> None:
    room.fill()
    room.queue.receive(arrival("1.2.840.99.1"))

    text = client.get("/status").text

    assert CANARY.partition("^")[0] not in text
    assert "1.2.840" not in text


def test_the_page_says_what_must_be_looked_at(room: Room, client: httpx.Client) -> None:
    room.queue.receive(arrival())
    room.clock.forward(hours=5)

    text = client.get("/status").text

    assert "Somebody must look" in text
    assert "nothing has gone round for 5 hours" in text


def test_the_page_comes_without_a_database(client_without_database: httpx.Client) -> None:
    page = client_without_database.get("/status")

    assert page.status_code == 200
    assert "The database cannot be used now" in page.text


def test_what_a_sender_calls_itself_is_no_markup(room: Room, client: httpx.Client) -> None:
    room.queue.receive(arrival(calling_ae="<b>X</b>"))

    text = client.get("/status").text

    assert "<b>X</b>" not in text
    assert "&lt;b&gt;X&lt;/b&gt;" in text


def test_the_page_renews_itself_without_a_script(client: httpx.Client) -> None:
    page = client.get("/status")

    assert '<meta http-equiv="refresh" content="15">' in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/style.css").headers["content-type"].startswith("text/css")


def test_the_first_address_leads_to_the_page(client: httpx.Client) -> None:
    assert client.get("/", follow_redirects=True).url.path == "/status"
