"""What goes into a report comes out of it, by coded concept, in every SOP class."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from schemas.assessments import Assessment, NoAssessment
from schemas.config import SrClass
from schemas.estimates import BoneAgeEstimate, QualityFlag
from schemas.images import MissingAge, Sex
from schemas.jobs import FormerReport, Outcome
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.identities import capture_uid, heatmap_uid
from worker.reporting.reader import (
    RecoveredEstimate,
    RecoveredReport,
    UnreadableReportError,
    read_report,
)
from worker.reporting.structured_report import build_structured_report

FORMER = FormerReport(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33",
    sop_instance_uid="1.2.3",
    revision=2,
    release_digest="ab" * 32,
    profile_digest="cd" * 32,
)
MONTHS = 0.051  # a report rounds months to one decimal
HUNDREDTHS = 0.0051  # and SD and Z-score to two


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph()


@pytest.fixture(params=SrClass)
def sop_class(request: pytest.FixtureRequest) -> SrClass:
    given: SrClass = request.param
    return given


def received(
    content: ResultContent, header: Dataset, sop_class: SrClass, folder: Path
) -> RecoveredReport:
    path = folder / "sr.dcm"
    report = build_structured_report(content, header, sop_class=sop_class)
    report.save_as(path, enforce_file_format=True)
    return read_report(dcmread(path))


def assert_same(found: RecoveredEstimate, expected: BoneAgeEstimate) -> None:
    assert found.age_months == pytest.approx(expected.age_months, abs=MONTHS)
    assert found.low_months == pytest.approx(expected.interval.low_months, abs=MONTHS)
    assert found.high_months == pytest.approx(expected.interval.high_months, abs=MONTHS)
    assert found.coverage == pytest.approx(expected.interval.coverage)
    assert found.spread_months == pytest.approx(expected.spread_months, abs=MONTHS)
    assert [member.member for member in found.members] == [m.member for m in expected.members]
    assert [member.age_months for member in found.members] == pytest.approx(
        [member.age_months for member in expected.members], abs=MONTHS
    )


def test_the_estimate_comes_back(sop_class: SrClass, header: Dataset, tmp_path: Path) -> None:
    content = contents.estimated(header)

    found = received(content, header, sop_class, tmp_path)

    assert found.outcome is Outcome.ESTIMATED
    assert len(found.estimates) == 1
    assert found.estimates[0].sex is None
    assert found.estimates[0].words == "10 y 6 m (126 months)"
    assert_same(found.estimates[0], content.estimates[0])


def test_sex_and_age_come_back_with_their_sources(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.estimated(header)
    age = content.source.chronological_age
    assert age is not None

    found = received(content, header, sop_class, tmp_path)

    assert (found.sex, found.sex_source) == (Sex.FEMALE, content.source.sex.source)
    assert found.chronological_age_months == pytest.approx(age.months, abs=MONTHS)
    assert found.age_source is age.source
    assert found.laterality == "L"


def test_the_assessment_comes_back(sop_class: SrClass, header: Dataset, tmp_path: Path) -> None:
    content = contents.estimated(header)
    expected = content.assessment
    assert isinstance(expected, Assessment)

    found = received(content, header, sop_class, tmp_path).assessment

    assert found is not None
    assert found.z_score == pytest.approx(expected.z_score, abs=HUNDREDTHS)
    assert found.sd_months == pytest.approx(expected.sd_months, abs=HUNDREDTHS)
    assert found.centre_months == pytest.approx(expected.mean_months, abs=MONTHS)
    assert found.high_months - found.low_months == pytest.approx(
        4 * expected.sd_months, abs=2 * MONTHS
    )
    assert (found.reference, found.centring) == (expected.reference, expected.centring)
    assert found.maturity is expected.maturity


def test_the_calibration_of_the_site_comes_back_with_the_value_before_it(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.calibrated_girl(header)

    found = received(content, header, sop_class, tmp_path).estimates[0]

    assert_same(found, content.estimates[0])
    assert found.uncalibrated_months == pytest.approx(126.4, abs=MONTHS)
    assert found.calibration.startswith("girls: 0.9 x months +4 months; fitted on 120 children")


def test_every_report_says_that_other_images_have_reports_of_their_own(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    for content in (contents.estimated(header), contents.refused(header)):
        found = received(content, header, sop_class, tmp_path)
        assert "stand beside this one" in found.scope


def test_flags_and_provenance_come_back(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    flags = (QualityFlag.LOW_CONTRAST, QualityFlag.PHANTOM)
    content = contents.estimated(header, flags=flags, revision=3, predecessors=(FORMER,))

    found = received(content, header, sop_class, tmp_path)

    assert found.flags == flags
    assert found.provenance.release_name == content.release.name
    assert found.provenance.release_version == content.release.version
    assert found.provenance.release_digest == content.release.digest
    assert found.provenance.profile_digest == content.profile.digest
    assert found.provenance.profile == "default 1"
    assert found.provenance.software == "boneage-worker 0.1.0"
    assert found.provenance.revision == 3
    assert found.provenance.superseded_uids == ("1.2.3",)


def test_the_report_refers_to_the_radiograph_with_its_page(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.estimated(header)

    found = received(content, header, sop_class, tmp_path)

    assert set(found.image_uids) == {header.SOPInstanceUID, capture_uid(content)}


def test_the_report_refers_to_the_heatmap_alone_where_it_is_sent(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.with_heatmap_object(header)

    found = received(content, header, sop_class, tmp_path)

    assert heatmap_uid(content) in found.image_uids


@pytest.mark.parametrize(
    "with_coordinates", [SrClass.COMPREHENSIVE_3D, SrClass.COMPREHENSIVE, SrClass.ENHANCED]
)
def test_the_outline_comes_back(with_coordinates: SrClass, header: Dataset, tmp_path: Path) -> None:
    found = received(contents.estimated(header), header, with_coordinates, tmp_path)

    assert found.outline == contents.OUTLINE


def test_without_a_sex_both_values_come_back_under_their_conditions(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.of_unknown_sex(header)

    found = received(content, header, sop_class, tmp_path)

    assert found.sex is None
    assert [estimate.sex for estimate in found.estimates] == [Sex.FEMALE, Sex.MALE]
    for recovered, expected in zip(found.estimates, content.estimates, strict=True):
        assert_same(recovered, expected)
    assert found.no_assessment is content.no_assessment
    assert found.assessment is None


def test_without_a_birth_date_the_reason_comes_back(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    found = received(contents.of_unknown_age(header), header, sop_class, tmp_path)

    assert found.chronological_age_months is None
    assert found.missing_age is MissingAge.NO_BIRTH_DATE
    assert found.assessment is None


def test_ages_that_contradict_each_other_come_back_as_no_age_with_what_to_do(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    found = received(contents.of_contradicting_ages(header), header, sop_class, tmp_path)

    assert found.chronological_age_months is None
    assert found.missing_age is MissingAge.CONTRADICTION
    assert (found.assessment, found.no_assessment) == (None, NoAssessment.NO_AGE)
    assert "correct them and send the image again" in found.conclusion


@pytest.mark.parametrize("reason", RefusalReason)
def test_the_reason_of_a_refusal_comes_back(
    reason: RefusalReason, sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    found = received(contents.refused(header, reason), header, sop_class, tmp_path)

    assert found.outcome is Outcome.REFUSED
    assert found.reason is reason
    assert found.reason_detail == "hand score 0.03, needed 0.50"
    assert found.estimates == ()


def test_a_text_that_a_character_set_cannot_carry_is_replaced(
    sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content = contents.estimated(header)
    release = replace(content.release, name="Größe")

    found = received(replace(content, release=release), header, sop_class, tmp_path)

    assert found.provenance.release_name == "Gr??e"


def test_a_foreign_object_is_not_taken_for_a_report(header: Dataset) -> None:
    with pytest.raises(UnreadableReportError, match="Content Sequence"):
        read_report(header)
