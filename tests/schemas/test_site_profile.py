import hashlib
from datetime import date

import pytest

from schemas.assessments import Centring, ReferenceTable
from schemas.images import Sex
from schemas.site_profile import (
    DEFAULT_PROFILE,
    SiteProfileError,
    default_profile,
    parse_profile,
)

OURS = b"""
name = "children's hospital"
version = "3"
reference = "greulich_pyle_1959"
"""

GIRLS = (
    OURS
    + b"""
[calibration.F]
slope = 1.0
offset_months = -3.5
children = 120
fitted_on = 2026-01-31
"""
)


def test_a_site_corrects_the_ages_of_one_sex() -> None:
    profile = parse_profile(GIRLS)

    rule = profile.calibration_for(Sex.FEMALE)
    assert rule is not None
    assert (rule.slope, rule.offset_months, rule.children) == (1.0, -3.5, 120)
    assert rule.fitted_on == date(2026, 1, 31)
    assert profile.calibration_for(Sex.MALE) is None
    assert profile.digest != parse_profile(OURS).digest


def test_the_default_centres_on_chronological_age() -> None:
    profile = default_profile()

    assert profile.reference is ReferenceTable.BRUSH_FOUNDATION
    assert profile.centring is Centring.CHRONOLOGICAL_AGE
    assert profile.digest == hashlib.sha256(DEFAULT_PROFILE.encode()).hexdigest()


def test_a_site_chooses_its_table() -> None:
    profile = parse_profile(OURS)

    assert (profile.name, profile.version) == ("children's hospital", "3")
    assert profile.reference is ReferenceTable.GREULICH_PYLE_1959


def test_any_change_of_the_file_changes_the_digest() -> None:
    assert parse_profile(OURS).digest != parse_profile(OURS + b"# signed off\n").digest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OURS + b'centring = "table_mean"\n', "holds no means"),
        (OURS + b'centering = "table_mean"\n', "centering"),
        (b'name = "x"\n', "version"),
        (OURS.replace(b"greulich_pyle_1959", b"tw3"), "reference"),
        (b"name = ", "TOML"),
        (b'name = "\xff"', "UTF-8"),
        (GIRLS.replace(b"-3.5", b"-60"), r"calibration\.F\.offset_months"),
        (GIRLS.replace(b"slope = 1.0", b"slope = nan"), r"calibration\.F\.slope"),
        (GIRLS.replace(b"120", b"4"), r"calibration\.F\.children"),
        (GIRLS.replace(b"2026-01-31", b"2026-02-31"), "TOML"),
        (GIRLS.replace(b"[calibration.F]", b"[calibration.O]"), "calibration"),
    ],
)
def test_a_profile_that_cannot_be_used_says_why(content: bytes, told: str) -> None:
    with pytest.raises(SiteProfileError, match=told):
        parse_profile(content)
