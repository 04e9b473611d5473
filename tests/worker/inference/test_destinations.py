import pytest

from schemas.config import IntakeRule, PeerSection
from schemas.jobs import ObjectKind
from worker.inference.destinations import (
    NoDestinationError,
    UnknownDestinationError,
    destinations_of,
    orders_for,
)

RULE = IntakeRule(name="all")
PACS = PeerSection(name="pacs", ae_title="PACS")
ARCHIVE = PeerSection(name="archive", ae_title="ARCHIVE")
ROOM = PeerSection(name="room", ae_title="ROOM1", destination=False)


def names(*peers: PeerSection, rule: IntakeRule = RULE, calling_ae: str = "PACS") -> list[str]:
    return [p.name for p in destinations_of(rule=rule, calling_ae=calling_ae, peers=peers)]


def test_by_default_the_sender_gets_the_results() -> None:
    assert names(ARCHIVE, PACS, calling_ae="PACS ") == ["pacs"]


def test_destinations_of_the_sender_go_before_the_sender() -> None:
    room = ROOM.model_copy(update={"destinations": ("archive", "pacs")})

    assert names(PACS, ARCHIVE, room, calling_ae="ROOM1") == ["archive", "pacs"]


def test_destinations_of_the_rule_go_before_all() -> None:
    rule = IntakeRule(name="all", destinations=("archive", "archive"))

    assert names(PACS, ARCHIVE, rule=rule) == ["archive"]


@pytest.mark.parametrize("calling_ae", ["STRANGER", "ROOM1"])
def test_nobody_to_send_to_is_an_error_with_its_mend(calling_ae: str) -> None:
    with pytest.raises(NoDestinationError, match=r"\[\[peer\]\].*boneage jobs requeue") as raised:
        names(PACS, ROOM, calling_ae=calling_ae)

    assert calling_ae in str(raised.value)
    assert raised.value.code == "intake.no_destination"


@pytest.mark.parametrize("name", ["nowhere", "room"])
def test_a_named_destination_must_take_results(name: str) -> None:
    with pytest.raises(UnknownDestinationError, match=name):
        names(PACS, ROOM, rule=IntakeRule(name="all", destinations=(name,)))


def test_each_destination_is_owed_what_it_wants() -> None:
    reports_only = ARCHIVE.model_copy(update={"objects": (ObjectKind.SR,)})

    owed = [(order.destination, order.kind) for order in orders_for((PACS, reports_only))]

    assert owed == [
        ("pacs", ObjectKind.SR),
        ("pacs", ObjectKind.SC),
        ("archive", ObjectKind.SR),
    ]
