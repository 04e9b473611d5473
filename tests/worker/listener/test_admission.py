import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from pynetdicom.association import Association

from schemas.config import PeerSection
from schemas.errors import PermanentError, TransientError
from tests.worker.listener.conftest import Site, StartSite
from tests.worker.listener.sending import association
from worker.listener.admission import plain_address
from worker.listener.errors import CallingAeRefusedError, TooManyAssociationsError
from worker.queue.jobs import JobQueue

Answer = tuple[int | None, int | None, int | None]
STRANGE_CALLING_AE = (1, 1, 3)  # PS3.8 table 9-21
LIMIT_EXCEEDED = (2, 3, 2)


def refusal(opened: Association) -> Answer | None:
    """Return result, source and reason of the rejection; none: it was let in."""
    if opened.is_established:
        return None
    assert opened.is_rejected
    answer = opened.acceptor.primitive
    assert answer is not None
    return answer.result, answer.result_source, answer.diagnostic


def sender(*addresses: str, **settings: object) -> PeerSection:
    return PeerSection.model_validate(
        {"name": "pacs", "ae_title": "PACS", "addresses": addresses, **settings}
    )


# by name and address


@pytest.mark.parametrize(
    ("addresses", "is_welcome"),
    [
        ((), True),
        (("127.0.0.1",), True),
        (("10.0.0.0/8", "127.0.0.0/30"), True),
        (("127.0.0.2",), False),
        (("::1",), False),
    ],
)
def test_a_sender_comes_from_where_its_peer_says(
    start_site: StartSite, *, addresses: tuple[str, ...], is_welcome: bool
) -> None:
    site = start_site(peers=(sender(*addresses),))
    with association(site.port) as opened:
        assert refusal(opened) == (None if is_welcome else STRANGE_CALLING_AE)


def test_two_peers_of_one_name_may_each_come_from_their_place(start_site: StartSite) -> None:
    here, there = sender("127.0.0.1"), sender("127.0.0.2", name="there", destination=False)
    site = start_site(peers=(here, there))
    for address in ("127.0.0.1", "127.0.0.2"):
        with association(site.port, address=address) as opened:
            assert refusal(opened) is None
    with association(site.port, address="127.0.0.3") as opened:
        assert refusal(opened) == STRANGE_CALLING_AE


def test_a_known_name_from_elsewhere_is_refused_even_where_strangers_are_let_in(
    start_site: StartSite,
) -> None:
    site = start_site(peers=(sender("127.0.0.2"),), accept_unknown_calling_ae=True)
    with association(site.port) as opened:
        assert refusal(opened) == STRANGE_CALLING_AE
    with association(site.port, calling_ae="STRANGER") as opened:
        assert refusal(opened) is None


def test_a_peer_that_may_not_send_is_refused_even_where_strangers_are_let_in(
    start_site: StartSite,
) -> None:
    site = start_site(peers=(sender(sender=False),), accept_unknown_calling_ae=True)
    with association(site.port) as opened:
        assert refusal(opened) == STRANGE_CALLING_AE


def test_an_ipv4_address_over_a_socket_of_ipv6_is_the_same_address() -> None:
    assert plain_address("::ffff:127.0.0.1") == plain_address("127.0.0.1")


# by number


def test_one_address_has_a_limit_of_its_own(start_site: StartSite) -> None:
    site = start_site(maximum_associations_by_address=1)
    with association(site.port), association(site.port) as second:
        assert refusal(second) == LIMIT_EXCEEDED
        with association(site.port, address="127.0.0.2") as elsewhere:
            assert refusal(elsewhere) is None


def test_one_calling_ae_has_a_limit_of_its_own(start_site: StartSite) -> None:
    site = start_site(senders=("PACS", "ROOM"), maximum_associations_by_calling_ae=1)
    with association(site.port), association(site.port, address="127.0.0.2") as second:
        assert refusal(second) == LIMIT_EXCEEDED
        with association(site.port, calling_ae="ROOM") as other:
            assert refusal(other) is None


def test_a_place_is_free_again_as_soon_as_its_association_has_ended(start_site: StartSite) -> None:
    site = start_site(maximum_associations=1)
    for _ in range(10):
        with association(site.port) as opened:
            assert refusal(opened) is None


def test_many_that_ask_at_once_never_exceed_the_limit(start_site: StartSite) -> None:
    site = start_site(maximum_associations=3)
    together = threading.Barrier(12)
    with ExitStack() as stack, ThreadPoolExecutor(12) as pool:

        def ask(_number: int) -> Answer | None:
            together.wait(20)
            return refusal(stack.enter_context(association(site.port)))

        answers = list(pool.map(ask, range(12)))
    assert sorted(answers, key=str) == [LIMIT_EXCEEDED] * 9 + [None] * 3


# what is written down


def test_whoever_is_refused_stands_in_the_audit_trail_once_a_minute(site: Site) -> None:
    for _ in range(3):
        with association(site.port, calling_ae="STRANGER", address="127.0.0.2") as opened:
            assert refusal(opened) == STRANGE_CALLING_AE

    (event,) = site.events
    assert (event.event, event.reason) == ("association_refused", "association.calling_ae")
    assert event.detail == {
        "calling_ae": "STRANGER",
        "called_ae": "BONEAGE",
        "peer_address": "127.0.0.2",
    }


def test_a_name_that_guesses_cannot_fill_the_audit_trail(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.listener.pace._MOST_REMEMBERED", 3)
    for number in range(6):
        with association(site.port, calling_ae=f"GUESS{number}") as opened:
            assert refusal(opened) == STRANGE_CALLING_AE
    assert len(site.events) == 3


def test_a_refusal_that_cannot_be_audited_is_a_refusal_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_detail: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JobQueue, "record_event", fail)
    with association(site.port, calling_ae="STRANGER") as opened:
        assert refusal(opened) == STRANGE_CALLING_AE


def test_a_bug_in_the_decision_lets_nobody_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.listener.admission.Admission.admit", stumble)
    with association(site.port) as opened:
        assert refusal(opened) == (2, 1, 1)


def test_waiting_helps_against_a_limit_but_not_against_a_wrong_name() -> None:
    assert isinstance(TooManyAssociationsError(setting="maximum_associations"), TransientError)
    assert isinstance(CallingAeRefusedError(), PermanentError)
