"""Results of every kind for the reporting tests: the smallest that show what matters."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from schemas.assessments import Assessment, NoAssessment
from schemas.estimates import (
    BoneAgeEstimate,
    Interval,
    MemberEstimate,
    QualityFlag,
    ReleaseIdentity,
)
from schemas.images import (
    ChronologicalAge,
    DateSource,
    MissingAge,
    Sex,
    SexReading,
    SexSource,
    SourceImage,
)
from schemas.jobs import FormerReport, Outcome
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from schemas.site_profile import default_profile, parse_profile
from worker.reporting.assessment import assess
from worker.reporting.identities import report_uid
from worker.reporting.local_calibration import calibrated

RELEASE = ReleaseIdentity(
    name="boneage", version="2026.1", digest="ab" * 32, licence="non-commercial (RSNA terms)"
)
CALIBRATED_PROFILE = b"""
name = "ours"
version = "2"
[calibration.F]
slope = 0.9
offset_months = 4.0
children = 120
fitted_on = 2026-01-31
"""
CREATED_AT = datetime(2026, 1, 5, 10, 2, 3, tzinfo=timezone(timedelta(hours=1)))
OUTLINE = ((40.0, 20.0), (220.0, 20.0), (220.0, 300.0), (40.0, 300.0), (40.0, 20.0))


def estimate_of(sex: Sex, months: float = 126.4, *, half_width: float = 12.3) -> BoneAgeEstimate:
    return BoneAgeEstimate(
        sex=sex,
        age_months=months,
        spread_months=1.25,
        members=(
            MemberEstimate(member="lite0-192", age_months=months - 1.3),
            MemberEstimate(member="lite2-256", age_months=months + 1.3),
        ),
        interval=Interval(
            low_months=months - half_width, high_months=months + half_width, coverage=0.9
        ),
    )


def source_of(header: Dataset) -> SourceImage:
    """Return the facts of a girl of 130.1 months in ``header``'s image."""
    return SourceImage(
        sop_instance_uid=header.SOPInstanceUID,
        sop_class_uid=header.SOPClassUID,
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
        rows=header.Rows,
        columns=header.Columns,
        photometric_interpretation=header.PhotometricInterpretation,
        laterality="L",
        sex=SexReading(sex=Sex.FEMALE, source=SexSource.PATIENT_SEX),
        chronological_age=ChronologicalAge(months=130.1, source=DateSource.ACQUISITION_DATE),
        missing_age=None,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


def former_of(report: Dataset, content: ResultContent) -> FormerReport:
    """Return ``report``, made of ``content``, as the queue names it to the next revision."""
    return FormerReport(
        sop_class_uid=report.SOPClassUID,
        sop_instance_uid=report.SOPInstanceUID,
        revision=content.revision,
        release_digest=content.release.digest,
        profile_digest=content.profile.digest,
    )


def estimated(header: Dataset, **changes: object) -> ResultContent:
    """Return the estimate of a girl, assessed against the default profile."""
    estimate = estimate_of(Sex.FEMALE)
    content = ResultContent(
        outcome=Outcome.ESTIMATED,
        source=source_of(header),
        release=RELEASE,
        profile=default_profile(),
        revision=1,
        created_at=CREATED_AT,
        software_version="0.1.0",
        installation_id="installation-1",
        estimates=(estimate,),
        outline=OUTLINE,
    )
    return reassessed(replace(content, **changes))  # type: ignore[arg-type]  # by keyword


def reassessed(content: ResultContent) -> ResultContent:
    """Return ``content`` with the assessment that belongs to it."""
    source = content.source
    found = assess(content.estimates[0], source.sex.sex, source.chronological_age, content.profile)
    if isinstance(found, Assessment):
        return replace(content, assessment=found, no_assessment=None)
    return replace(content, assessment=None, no_assessment=found)


def calibrated_girl(header: Dataset) -> ResultContent:
    """Return the estimate of a girl as a site corrects it."""
    profile = parse_profile(CALIBRATED_PROFILE)
    return estimated(
        header, profile=profile, estimates=(calibrated(estimate_of(Sex.FEMALE), profile),)
    )


def of_unknown_sex(header: Dataset) -> ResultContent:
    """Return both estimates side by side."""
    content = estimated(header)
    return replace(
        content,
        source=replace(content.source, sex=SexReading(sex=None, source=SexSource.UNKNOWN)),
        estimates=(estimate_of(Sex.FEMALE), estimate_of(Sex.MALE, 138.8)),
        assessment=None,
        no_assessment=NoAssessment.NO_SEX,
    )


def of_unknown_age(header: Dataset) -> ResultContent:
    """Return an estimate without a chronological age."""
    source = source_of(header)
    return estimated(
        header,
        source=replace(source, chronological_age=None, missing_age=MissingAge.NO_BIRTH_DATE),
    )


def of_contradicting_ages(header: Dataset) -> ResultContent:
    """Return an estimate of a child whose header holds two ages, years apart."""
    source = source_of(header)
    return estimated(
        header,
        source=replace(source, chronological_age=None, missing_age=MissingAge.CONTRADICTION),
        flags=(QualityFlag.AGE_CONTRADICTION,),
    )


def with_heatmap_object(header: Dataset) -> ResultContent:
    """Return an estimate that also goes out as the heatmap alone."""
    return estimated(header, has_heatmap_object=True)


def superseding(header: Dataset) -> ResultContent:
    """Return the second revision of an estimate, whose first went out in one class."""
    first = estimated(header)
    former = FormerReport(
        sop_class_uid=ComprehensiveSRStorage,
        sop_instance_uid=report_uid(first, ComprehensiveSRStorage),
        revision=first.revision,
        release_digest=first.release.digest,
        profile_digest=first.profile.digest,
    )
    return estimated(header, revision=2, predecessors=(former,))


def refused(header: Dataset, reason: RefusalReason = RefusalReason.NOT_A_HAND) -> ResultContent:
    """Return a refusal."""
    return ResultContent(
        outcome=Outcome.REFUSED,
        source=source_of(header),
        release=RELEASE,
        profile=default_profile(),
        revision=1,
        created_at=CREATED_AT,
        software_version="0.1.0",
        installation_id="installation-1",
        reason=reason,
        reason_detail="hand score 0.03, needed 0.50",
    )
