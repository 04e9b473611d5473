"""Every coded concept that the reports carry, each with how it was checked.

Checked against the dictionary of pydicom 3.0.2 (PS3.16): every DCM, SCT and UCUM code here.
Checked against LOINC's text on a published page: 85151-9 and 24724-7 (the latter's display name
is ours). UMLS C0034375 is row 12 of TID 1500. The SNOMED codes for the Greulich-Pyle method
and for advanced or delayed bone age are not part of what DICOM licenses: our own codes instead.

Codes of the scheme 99BONEAGE are stable: a value is never used again for something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.assessments import Centring, MaturityClass, NoAssessment, ReferenceTable
from schemas.estimates import QualityFlag
from schemas.images import DateSource, MissingAge, Sex, SexSource
from schemas.refusals import RefusalReason

PRIVATE_SCHEME = "99BONEAGE"
PRIVATE_SCHEME_NAME = "Codes of the bone-age worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A code with its scheme; the meaning is ASCII, so that every character set can carry it."""

    value: str
    scheme: str
    meaning: str

    @property
    def key(self) -> tuple[str, str]:
        """Scheme and value: what a receiver compares."""
        return self.scheme, self.value


def _own(value: str, meaning: str) -> Concept:
    return Concept(value=value, scheme=PRIVATE_SCHEME, meaning=meaning)


def _dcm(value: str, meaning: str) -> Concept:
    return Concept(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Concept:
    return Concept(value=value, scheme="SCT", meaning=meaning)


# document titles; only the estimate has 126000, so that OHIF shows the others as a text tree
MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")  # CID 7021
BONE_AGE_REPORT = _own("1001", "Bone age report, research use only")
NOT_ESTIMATED_REPORT = _own("1002", "Bone age not estimated")

# standard structure
BONE_AGE_VIEWS = Concept(value="24724-7", scheme="LN", meaning="XR Bones Views for bone age")
QUALITATIVE_EVALUATIONS = Concept(
    value="C0034375", scheme="UMLS", meaning="Qualitative Evaluations"
)
CONCLUSION = _dcm("121077", "Conclusion")
COMMENT = _dcm("121106", "Comment")
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
SOURCE = _sct("260753009", "Source")
MODALITY = _dcm("121139", "Modality")
DIGITAL_RADIOGRAPHY = _dcm("DX", "Digital Radiography")  # CID 29
COMPUTED_RADIOGRAPHY = _dcm("CR", "Computed Radiography")  # CID 29
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
PIXEL_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_COLUMNS = _dcm("110911", "Pixel Data Columns")
DEVICE = _dcm("121007", "Device")
ENGLISH = Concept(value="en", scheme="RFC5646", meaning="English")
PIXELS = Concept(value="{pixels}", scheme="UCUM", meaning="Pixels")
ALGORITHM_FAMILY = _dcm("111000", "Algorithm Family")
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")  # CID 7162
TRACKING_IDENTIFIER = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING_SITE = _sct("363698007", "Finding Site")
LATERALITY = _sct("272741003", "Laterality")
HAND = _sct("85562004", "Hand")
LATERALITIES: Mapping[str, Concept] = MappingProxyType(
    {"L": _sct("7771000", "Left"), "R": _sct("24028007", "Right")}  # CID 244
)

# units
MONTH = Concept(value="mo", scheme="UCUM", meaning="month")
# not "1": a viewer writes the unit behind the number, and "1.28 1" is misread
STANDARD_DEVIATIONS = Concept(value="{SD}", scheme="UCUM", meaning="standard deviations")
PERCENT = Concept(value="%", scheme="UCUM", meaning="percent")

# numbers
BONE_AGE = Concept(value="85151-9", scheme="LN", meaning="XR Bone age")
SUBJECT_AGE = _dcm("121033", "Subject Age")
Z_SCORE = _dcm("121416", "Z-Score of measurement")  # CID 227
POPULATION_SD = _dcm("121414", "Standard deviation of population")  # CID 226
TWO_SIGMA_LOWER = _sct("371918003", "2 Sigma Lower Value of population")  # CID 226
TWO_SIGMA_UPPER = _sct("371920000", "2 Sigma Upper Value of population")  # CID 226
UPPER_UNCERTAINTY = _sct("371886008", "+, range of upper measurement uncertainty")  # CID 225
LOWER_UNCERTAINTY = _sct("371885007", "-, range of lower measurement uncertainty")  # CID 225
POPULATION_DESCRIPTION = _dcm("121405", "Population description")
REFERENCE_AUTHORITY = _dcm("121406", "Reference Authority")
# without a sex there is no bone age, only two conditional ones: never under 85151-9
BONE_AGE_IF: Mapping[Sex, Concept] = MappingProxyType(
    {
        Sex.FEMALE: _own("1101", "Bone age if the child is a girl"),
        Sex.MALE: _own("1102", "Bone age if the child is a boy"),
    }
)
INTERVAL_LOW = _own("1103", "Interval, lower end")
INTERVAL_HIGH = _own("1104", "Interval, upper end")
INTERVAL_COVERAGE = _own("1105", "Coverage of interval")
MEMBER_BONE_AGE = _own("1106", "Bone age by one member of the ensemble")
ENSEMBLE_SPREAD = _own("1107", "Standard deviation over the members")
BAND_CENTRE = _own("1108", "Centre of the 2-SD band")
UNCALIBRATED_BONE_AGE = _own("1109", "Bone age before the calibration of the site")

# texts and references
BONE_AGE_WORDS = _own("1201", "Bone age in years and months")
SUBJECT_AGE_WORDS = _own("1202", "Chronological age in years and months")
INTERVAL_WORDS = _own("1203", "Interval in words")
LIMITATION = _own("1204", "Limitation of use")
REASON_DETAIL = _own("1205", "What was found")
PHYSICIAN_ADVICE = _own("1206", "Why, and what to do")
PROFILE_NAME = _own("1207", "Site profile")
PROFILE_DIGEST = _own("1208", "Digest of site profile")
RELEASE_DIGEST = _own("1209", "Digest of release")
RELEASE_LICENCE = _own("1210", "Licence of release")
SOFTWARE_VERSION = _own("1211", "Software version")
REVISION = _own("1212", "Revision of this result")
SUPERSEDED = _own("1213", "Superseded report")
HEATMAP = _own("1214", "Page with heatmap")
REGION = _own("1215", "Region of the estimate")
MEMBER_NAME = _own("1216", "Member of the ensemble")
SUBJECT = _own("1217", "Child")
ESTIMATE = _own("1218", "Estimate")
ASSESSMENT = _own("1219", "Assessment against reference")
PROVENANCE = _own("1220", "How this was made")
REFUSAL = _own("1221", "No estimate")
QUALITY = _own("1222", "Quality and limits")
LOCAL_CALIBRATION = _own("1223", "Calibration of the site")
SCOPE = _own("1224", "Scope of this report")
HEATMAP_OBJECT = _own("1225", "Heatmap alone")

# names of coded answers
SUBJECT_SEX = _dcm("121032", "Subject Sex")
SEX_SOURCE = _own("1301", "Source of subject sex")
AGE_SOURCE = _own("1302", "Date that the age was reckoned at")
NO_AGE_REASON = _own("1303", "Reason for no chronological age")
REFERENCE = _own("1304", "Reference table")
CENTRING = _own("1305", "Centring of the 2-SD band")
MATURITY = _own("1306", "Bone age against chronological age")
NO_ASSESSMENT_REASON = _own("1307", "Reason for no Z-score")
QUALITY_FLAG = _own("1308", "Doubt about the image or the estimate")
REFUSAL_REASON = _own("1309", "Reason for no estimate")

# coded answers
SEXES: Mapping[Sex | None, Concept] = MappingProxyType(
    {
        Sex.FEMALE: _dcm("F", "Female"),
        Sex.MALE: _dcm("M", "Male"),
        None: _dcm("U", "Unknown sex"),
    }  # CID 7455
)
SEX_SOURCES: Mapping[SexSource, Concept] = MappingProxyType(
    {
        SexSource.PATIENT_SEX: _own("1401", "Patient's Sex of the image"),
        SexSource.OPERATOR: _own("1402", "Entered by the operator"),
        SexSource.UNKNOWN: _own("1403", "No usable entry"),
    }
)
AGE_SOURCES: Mapping[DateSource, Concept] = MappingProxyType(
    {
        DateSource.ACQUISITION_DATE: _own("1411", "Acquisition date"),
        DateSource.SERIES_DATE: _own("1412", "Series date"),
        DateSource.STUDY_DATE: _own("1413", "Study date"),
    }
)
MISSING_AGES: Mapping[MissingAge, Concept] = MappingProxyType(
    {
        MissingAge.NO_BIRTH_DATE: _own("1421", "No birth date in the image"),
        MissingAge.NO_IMAGE_DATE: _own("1422", "No date in the image"),
        MissingAge.BORN_AFTER_IMAGE: _own("1423", "Birth date after the date of the image"),
        MissingAge.IMPOSSIBLE_DATE: _own("1424", "A date that does not exist"),
        MissingAge.CONTRADICTION: _own("1425", "Entries differ by over a year"),
    }
)
REFERENCES: Mapping[ReferenceTable, Concept] = MappingProxyType(
    {
        ReferenceTable.BRUSH_FOUNDATION: _own("1431", "Brush Foundation"),
        ReferenceTable.GREULICH_PYLE_1959: _own("1432", "Greulich and Pyle 1959"),
    }
)
CENTRINGS: Mapping[Centring, Concept] = MappingProxyType(
    {
        Centring.CHRONOLOGICAL_AGE: _own("1441", "Centred on chronological age"),
        Centring.TABLE_MEAN: _own("1442", "Centred on the mean of the table"),
    }
)
MATURITIES: Mapping[MaturityClass, Concept] = MappingProxyType(
    {
        MaturityClass.WITHIN: _own("1451", "Within 2 SD"),
        MaturityClass.ADVANCED: _own("1452", "Advanced by more than 2 SD"),
        MaturityClass.DELAYED: _own("1453", "Delayed by more than 2 SD"),
        MaturityClass.NOT_SEPARABLE: _own("1454", "Not separable from the 2-SD limit"),
    }
)
NO_ASSESSMENTS: Mapping[NoAssessment, Concept] = MappingProxyType(
    {
        NoAssessment.NO_SEX: _own("1461", "Sex unknown"),
        NoAssessment.NO_AGE: _own("1462", "Chronological age unknown"),
        NoAssessment.OUTSIDE_TABLE: _own("1463", "Age outside the reference table"),
    }
)
FLAGS: Mapping[QualityFlag, Concept] = MappingProxyType(
    {
        QualityFlag.LOW_CONTRAST: _own("1471", "Low contrast"),
        QualityFlag.MEMBERS_DISAGREE: _own("1472", "The members of the ensemble disagree"),
        QualityFlag.NEAR_RANGE_LIMIT: _own("1473", "Near the end of the readable range"),
        QualityFlag.LOW_RESOLUTION: _own("1474", "Low resolution"),
        QualityFlag.POLARITY_MENDED: _own("1475", "Image was inverted, read the right way"),
        QualityFlag.ORIENTATION_MENDED: _own("1476", "Image was turned, read upright"),
        QualityFlag.AGE_CONTRADICTION: _own("1477", "Patient's Age and dates do not agree"),
        QualityFlag.PHANTOM: _own("1478", "Phantom, not a child"),
    }
)
REFUSAL_REASONS: Mapping[RefusalReason, Concept] = MappingProxyType(
    {
        RefusalReason.NOT_A_HAND: _own("1501", "Not a hand"),
        RefusalReason.BOTH_HANDS: _own("1502", "Both hands in one image"),
        RefusalReason.CUT_OFF: _own("1503", "Hand cut off"),
        RefusalReason.AGE_OUTSIDE_RANGE: _own("1504", "Age outside the readable range"),
        RefusalReason.NO_PIXEL_DATA: _own("1505", "No pixel data"),
        RefusalReason.UNREADABLE_PIXELS: _own("1506", "Pixel data not decodable"),
        RefusalReason.UNSUPPORTED_IMAGE: _own("1507", "Kind of image not read"),
        RefusalReason.TOO_SMALL: _own("1508", "Image too small"),
        RefusalReason.POOR_CONTRAST: _own("1509", "Image almost uniform"),
        RefusalReason.CONTRADICTION: _own("1510", "Entries contradict each other"),
        RefusalReason.NO_DESTINATION: _own("1511", "No destination configured"),
        RefusalReason.TECHNICAL: _own("1512", "Technical failure"),
        RefusalReason.COVERED: _own("1513", "Hand covered by cast or metal"),
    }
)
