from collections.abc import Iterator
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from schemas import codes
from schemas.assessments import Centring, MaturityClass, NoAssessment, ReferenceTable
from schemas.codes import Concept
from schemas.estimates import QualityFlag
from schemas.images import DateSource, MissingAge, Sex, SexSource
from schemas.refusals import RefusalReason


def every_concept() -> Iterator[Concept]:
    for value in vars(codes).values():
        if isinstance(value, Concept):
            yield value
        elif isinstance(value, MappingProxyType):
            yield from (concept for concept in value.values() if isinstance(concept, Concept))


EVERY_CONCEPT = list(every_concept())


def test_no_code_stands_for_two_things() -> None:
    meanings: dict[tuple[str, str], set[str]] = {}
    for concept in EVERY_CONCEPT:
        meanings.setdefault(concept.key, set()).add(concept.meaning)

    assert {key for key, said in meanings.items() if len(said) > 1} == set()


def test_no_private_code_is_given_twice() -> None:
    private = [concept.value for concept in EVERY_CONCEPT if concept.scheme == "99BONEAGE"]

    assert len(private) == len(set(private))


def test_every_code_fits_its_attributes() -> None:
    # PS3.5 table 6.2-1: Code Value SH, Coding Scheme Designator SH, Code Meaning LO
    too_long = [
        concept
        for concept in EVERY_CONCEPT
        if len(concept.value) > 16 or len(concept.scheme) > 16 or len(concept.meaning) > 64
    ]

    assert too_long == []


def test_every_meaning_can_stand_in_any_character_set() -> None:
    assert all(concept.meaning.isascii() for concept in EVERY_CONCEPT)


def test_every_standard_code_is_one_that_the_standard_has() -> None:
    keywords: dict[str, Any] = dict(concepts)  # untyped: scheme, keyword, code value
    known = {
        (scheme, value)
        for scheme, by_keyword in keywords.items()
        for values in by_keyword.values()
        for value in values
    }
    standard = [c for c in EVERY_CONCEPT if c.scheme in {"DCM", "SCT"}]

    assert len(standard) > 20
    assert [concept for concept in standard if concept.key not in known] == []


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (SexSource, codes.SEX_SOURCES),
        (DateSource, codes.AGE_SOURCES),
        (MissingAge, codes.MISSING_AGES),
        (ReferenceTable, codes.REFERENCES),
        (Centring, codes.CENTRINGS),
        (MaturityClass, codes.MATURITIES),
        (NoAssessment, codes.NO_ASSESSMENTS),
        (QualityFlag, codes.FLAGS),
        (RefusalReason, codes.REFUSAL_REASONS),
        (Sex, codes.BONE_AGE_IF),
    ],
)
def test_everything_that_can_be_found_can_be_reported(
    kind: type[StrEnum], table: dict[StrEnum, Concept]
) -> None:
    assert set(table) == set(kind)
