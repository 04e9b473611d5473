import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from schemas.assessments import MaturityClass, NoAssessment
from schemas.errors import UnsuitableImageError
from schemas.estimates import GateVerdict, QualityFlag
from schemas.images import Sex, SexSource
from schemas.jobs import FormerReport, Outcome
from schemas.refusals import RefusalReason
from schemas.results import ResultContent, identity_of, output_uid
from schemas.site_profile import parse_profile
from tests.builders import ABSENT, another_instance, hand_radiograph, real_hand
from tests.fakes import Clock, StubEstimator
from tests.worker.inference.conftest import image_reader
from worker.inference.estimate import Revision
from worker.inference.received import received

FORMER = FormerReport(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
    sop_instance_uid="1.2.3",
    revision=2,
    release_digest="ab" * 32,
    profile_digest="cd" * 32,
)
FROM_PIXELS = StubEstimator(age_months=None)


def test_an_estimate_is_assessed_by_the_site_profile() -> None:
    content = image_reader().read(received(hand_radiograph())).content

    assert content.outcome is Outcome.ESTIMATED
    assert content.assessment is not None
    assert content.assessment.maturity in MaturityClass
    assert content.profile.digest


def test_without_a_birth_date_there_is_no_assessment() -> None:
    content = image_reader().read(received(hand_radiograph(PatientBirthDate=""))).content

    assert (content.assessment, content.no_assessment) == (None, NoAssessment.NO_AGE)
    assert len(content.estimates) == 1


def test_without_sex_there_are_two_estimates_and_no_assessment() -> None:
    content = image_reader().read(received(hand_radiograph(PatientSex="O"))).content

    assert (content.assessment, content.no_assessment) == (None, NoAssessment.NO_SEX)
    assert [each.sex for each in content.estimates] == [Sex.FEMALE, Sex.MALE]


def test_what_the_operator_says_of_the_sex_stands_in_the_content() -> None:
    finding = image_reader().read(received(hand_radiograph(PatientSex="O")), sex=Sex.MALE)

    assert [each.sex for each in finding.content.estimates] == [Sex.MALE]
    assert finding.content.source.sex.source is SexSource.OPERATOR


def test_an_inverted_pair_gives_one_number() -> None:
    pair = [
        hand_radiograph(PhotometricInterpretation=each, WindowCenter=ABSENT, WindowWidth=ABSENT)
        for each in ("MONOCHROME1", "MONOCHROME2")
    ]

    ages = [image_reader(FROM_PIXELS).read(received(each)).content.estimates for each in pair]

    assert ages[0] == ages[1]


def test_doubts_of_header_and_gate_come_together() -> None:
    gate = GateVerdict(refusal=None, flags=(QualityFlag.LOW_CONTRAST,))
    image = received(hand_radiograph(PatientAge="007Y"))

    content = image_reader(StubEstimator(verdict=gate)).read(image).content

    assert content.flags == (QualityFlag.AGE_CONTRADICTION, QualityFlag.LOW_CONTRAST)


def test_an_image_that_must_not_be_read_raises() -> None:
    image = received(hand_radiograph(PatientBirthDate="19800101"))

    with pytest.raises(UnsuitableImageError) as refused:
        image_reader().read(image)

    assert refused.value.reason is RefusalReason.AGE_OUTSIDE_RANGE


@pytest.mark.parametrize("overrides", [{}, {"PixelData": ABSENT}, {"Rows": ABSENT}], ids=str)
def test_a_refusal_has_a_page_with_or_without_an_image(overrides: dict[str, object]) -> None:
    finding = image_reader().refuse(
        received(hand_radiograph(**overrides)),
        reason=RefusalReason.NO_PIXEL_DATA,
        detail="PixelData: absent",
    )

    assert finding.content.outcome is Outcome.REFUSED
    assert finding.content.estimates == ()
    assert finding.page.ndim == 3
    assert finding.capture.Rows == finding.page.shape[0]


def test_a_revision_names_what_it_supersedes() -> None:
    revision = Revision(number=3, predecessors=(FORMER,))

    content = image_reader().read(received(hand_radiograph()), revision).content

    assert (content.revision, content.predecessors) == (3, (FORMER,))


def test_the_content_survives_its_file() -> None:
    content = image_reader().read(received(hand_radiograph())).content

    assert ResultContent.from_json(content.to_json()) == content


def test_the_time_of_the_content_is_local_with_its_offset() -> None:
    clock = Clock()

    content = image_reader(clock=clock).read(received(hand_radiograph())).content

    assert content.created_at == clock()
    assert isinstance(content.created_at.utcoffset(), timedelta)


def test_every_step_is_timed() -> None:
    timings = image_reader().read(received(hand_radiograph())).timings_ms

    assert set(timings) == {"decode", "check", "read", "draw", "capture"}


@pytest.mark.parametrize("name", ["rsna_full/1378.png", "rsna_half/14729.webp"])
def test_a_real_hand_gives_one_number_as_dx_as_cr_and_inverted(name: str) -> None:
    picture = real_hand(name)
    plain: dict[str, object] = {"WindowCenter": ABSENT, "WindowWidth": ABSENT}
    variants = (
        hand_radiograph(picture, **plain),
        hand_radiograph(picture, Modality="CR", **plain),
        hand_radiograph(picture, PhotometricInterpretation="MONOCHROME1", **plain),
    )

    ages = {
        image_reader(FROM_PIXELS).read(received(each)).content.estimates[0].age_months
        for each in variants
    }

    assert ages == {FROM_PIXELS.months(picture.astype(np.float32), Sex.FEMALE)}


@pytest.mark.parametrize(("months", "found"), [(229.0, "above the range"), (11.0, "below the")])
def test_an_estimate_that_the_networks_have_not_learnt_is_refused(
    months: float, found: str
) -> None:
    reader = image_reader(StubEstimator(age_months=months, girls_less_months=0))

    with pytest.raises(UnsuitableImageError) as refused:
        reader.read(received(hand_radiograph()))

    assert refused.value.reason is RefusalReason.AGE_OUTSIDE_RANGE
    assert f"estimated age: {found}" in refused.value.detail
    assert not any(character.isdigit() for character in refused.value.detail)


def test_the_calibration_of_the_site_corrects_what_is_assessed() -> None:
    image = received(hand_radiograph())
    plain = image_reader(StubEstimator()).read(image).content
    rule = b'name = "x"\nversion = "1"\n[calibration.F]\nslope = 1.0\noffset_months = -5.0\n'
    profile = parse_profile(rule + b"children = 50\nfitted_on = 2026-01-31\n")

    content = image_reader(StubEstimator(), profile=profile).read(image).content

    before, after = plain.estimates[0], content.estimates[0]
    assert after.age_months == pytest.approx(before.age_months - 5, abs=1e-9)
    assert after.uncalibrated_months == before.age_months
    assert plain.assessment is not None
    assert content.assessment is not None
    assert content.assessment.z_score < plain.assessment.z_score


def test_two_images_of_one_hand_have_results_that_stand_beside_each_other() -> None:
    first = hand_radiograph()
    second = another_instance(first)

    contents = [image_reader().read(received(image)).content for image in (first, second)]

    assert contents[0].source.study_instance_uid == contents[1].source.study_instance_uid
    assert [content.predecessors for content in contents] == [(), ()]
    uids = {output_uid(identity_of(content, kind="SC")) for content in contents}
    assert len(uids) == 2


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("utc", "local"),
    [
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), "2026-03-29T01:59:00+01:00"),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "2026-03-29T03:00:00+02:00"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25T02:30:00+02:00"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "2026-10-25T02:30:00+01:00"),
    ],
)
def test_a_result_carries_local_time_with_the_offset_of_that_moment(
    utc: datetime, local: str
) -> None:
    content = image_reader(clock=Clock(utc)).read(received(hand_radiograph())).content

    assert content.created_at.isoformat() == local


@pytest.mark.usefixtures("berlin")
def test_the_night_of_summer_time_makes_nobody_older() -> None:
    born, days = "20160329", 3652  # to 2026-03-29, a day of 23 hours
    image = hand_radiograph(PatientBirthDate=born, AcquisitionDate="20260329")

    age = image_reader().read(received(image)).content.source.chronological_age

    assert age is not None
    assert age.months == pytest.approx(days / 30.4375, abs=1e-9)
