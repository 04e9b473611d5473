"""The short form of the campaign; the long one is ``python -m tests.campaigns.fuzz``."""

from collections import Counter
from pathlib import Path

import pytest

from tests.campaigns.fuzz import Mutation, attacks, campaign, mutated, samples
from tests.campaigns.wire import (
    ASSOCIATE_AC,
    HangError,
    Wire,
    association_request,
    status_in,
    store_request,
)
from tests.worker.listener.conftest import Site
from tests.worker.listener.encoding import DX, EXPLICIT, dataset


@pytest.mark.slow
def test_hundreds_of_mutants_neither_stop_nor_swell_the_listener(tmp_path: Path) -> None:
    figures = campaign(tmp_path, count=300, random_seed=20)

    assert figures.mutants >= 300
    assert {0x0000, 0xA900, 0xC000} <= set(figures.statuses)
    assert len(figures.services) > 1


def test_the_same_seed_gives_the_same_mutants() -> None:
    assert attacks(count=40, random_seed=7) == attacks(count=40, random_seed=7)
    assert attacks(count=40, random_seed=7) != attacks(count=40, random_seed=8)


def test_the_campaign_has_files_of_every_kind(tmp_path: Path) -> None:
    syntaxes = Counter(sample.transfer_syntax_uid for sample in samples(tmp_path))

    assert sum(syntaxes.values()) > 40
    assert len(syntaxes) >= 8


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cut", b"abcd"),
        ("insert", b"abcd\xff\xffefgh"),
        ("remove", b"abcdgh"),
        ("write", b"abcd\xff\xffgh"),
        ("flip", b"abcd\x9a\x99gh"),
        ("repeat", b"abcdefghefgh"),
    ],
)
def test_a_mutation_changes_what_it_says(kind: str, expected: bytes) -> None:
    change = Mutation(kind=kind, place=0.5, value=b"\xff\xff")

    assert mutated(b"abcdefgh", [change]) == expected


def test_what_is_not_mutated_is_stored(site: Site) -> None:
    request = store_request(dataset(), sop_class_uid=DX, sop_instance_uid="1.2.3")
    with Wire(site.port) as wire:
        assert wire.associate(association_request((DX, EXPLICIT)))
        assert wire.store(request) == 0x0000
        wire.finish()
    assert len(site.jobs) == 1


def test_a_listener_that_does_not_answer_is_found_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.campaigns.wire.LIMIT_SECONDS", 0.2)
    with Wire(site.port) as wire, pytest.raises(HangError):
        wire.read_pdu()


def test_no_status_is_read_where_there_is_none() -> None:
    assert status_in(bytes([ASSOCIATE_AC]) * 100) is None
