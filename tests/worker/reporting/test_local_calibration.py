from dataclasses import replace

import pytest

from schemas.images import Sex
from schemas.site_profile import default_profile, parse_profile
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.local_calibration import calibrated

PROFILE = parse_profile(contents.CALIBRATED_PROFILE)
EXACT = 1e-9  # months: sums of floats


def test_a_corrected_age_keeps_the_value_of_the_release_beside_it() -> None:
    estimate = contents.estimate_of(Sex.FEMALE, 120.0)

    corrected = calibrated(estimate, PROFILE)

    assert corrected.age_months == pytest.approx(0.9 * 120 + 4, abs=EXACT)
    assert corrected.uncalibrated_months == 120.0


def test_interval_and_members_move_with_the_age() -> None:
    estimate = contents.estimate_of(Sex.FEMALE, 120.0, half_width=10)

    corrected = calibrated(estimate, PROFILE)

    interval = corrected.interval
    assert (interval.low_months, interval.high_months) == pytest.approx((103, 121), abs=EXACT)
    assert interval.coverage == estimate.interval.coverage
    assert [member.age_months for member in corrected.members] == pytest.approx(
        [0.9 * member.age_months + 4 for member in estimate.members], abs=EXACT
    )


def test_the_other_sex_is_left_as_it_is() -> None:
    estimate = contents.estimate_of(Sex.MALE)

    assert calibrated(estimate, PROFILE) == estimate


def test_without_a_calibration_nothing_changes() -> None:
    estimate = contents.estimate_of(Sex.FEMALE)

    assert calibrated(estimate, default_profile()) == estimate


def test_no_correction_makes_an_age_negative() -> None:
    younger = parse_profile(contents.CALIBRATED_PROFILE.replace(b"= 4.0", b"= -24.0"))

    corrected = calibrated(contents.estimate_of(Sex.FEMALE, 12.0, half_width=9), younger)

    assert corrected.interval.low_months == corrected.age_months == 0


def test_a_changed_calibration_gives_other_uids() -> None:
    header = hand_radiograph()
    content = contents.estimated(header)

    corrected = contents.calibrated_girl(header)

    assert corrected.profile.digest != content.profile.digest
    assert corrected == replace(
        content,
        profile=corrected.profile,
        estimates=corrected.estimates,
        assessment=corrected.assessment,
    )
