"""Copies the patient and the study of the source image, byte for byte.

A result under a second patient, or with a garbled name, is worse than none. So the bytes of each
text stay as they came, with the Specific Character Set that they were written in; nothing is
decoded and encoded again. What the standard wants and the image lacks is present and empty.
"""

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

#: PS3.3 C.7.1.1, C.7.2.1 and what clinical trials add: type 2 or 2C without an image's context
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
_PATIENT = (
    "ReferencedPatientSequence",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "SourcePatientGroupIdentificationSequence",
    "GroupOfPatientsIdentificationSequence",
    "PatientBirthTime",
    "PatientBirthDateInAlternativeCalendar",
    "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "QualityControlSubject",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "ReferencedPatientPhotoSequence",
    "EthnicGroup",
    "EthnicGroupCodeSequence",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "IssuerOfClinicalTrialProtocolID",
    "OtherClinicalTrialProtocolIDsSequence",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "IssuerOfClinicalTrialSiteID",
    "ClinicalTrialSubjectID",
    "IssuerOfClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "IssuerOfClinicalTrialSubjectReadingID",
    "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
)
_STUDY = (
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "ReferencedStudySequence",
    "StudyInstanceUID",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientSizeCodeSequence",
    "PatientBodyMassIndex",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "SmokingStatus",
    "AdditionalPatientHistory",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientSexNeutered",
    "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "IssuerOfServiceEpisodeIDSequence",
    "PatientState",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "LongitudinalTemporalOffsetFromEvent",
    "LongitudinalTemporalEventType",
    "ClinicalTrialTimePointTypeCodeSequence",
    "IssuerOfClinicalTrialTimePointID",
    "ConsentForClinicalTrialUseSequence",
)
COPIED_KEYWORDS = ("SpecificCharacterSet", *_MAY_BE_EMPTY, *_PATIENT, *_STUDY)

#: character strings: their bytes are the same in every transfer syntax (PS3.5 6.2)
_STRING_VRS = frozenset(
    {
        *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT"),
        *("PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"),
    }
)


def copy_patient_and_study(header: Dataset, into: Dataset) -> None:
    """Copy both modules and the character set of ``header`` into the empty ``into``.

    ``into`` must be written in Explicit VR Little Endian; text added to it must be ASCII, which
    every Specific Character Set can carry (PS3.5 6.1.2).
    """
    for keyword in COPIED_KEYWORDS:
        tag = Tag(_tag(keyword))
        if keyword == "SpecificCharacterSet" and not header.get(keyword):
            continue  # an empty one means what an absent one does, but is not allowed
        if tag in header:
            into[tag] = _as_it_came(header, tag)
        elif keyword in _MAY_BE_EMPTY:
            into[tag] = DataElement(tag, dictionary_VR(tag), None)
    # pydicom writes raw elements as they are only to where it thinks that they came from
    into.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=header.original_character_set,
    )


def _as_it_came(header: Dataset, tag: BaseTag) -> DataElement | RawDataElement:
    element = header.get_item(tag)
    if not isinstance(element, RawDataElement):
        return header[tag]
    representation = dictionary_VR(tag)
    if representation not in _STRING_VRS:
        return header[tag]
    value = element.value or b""
    return element._replace(
        VR=representation,
        length=len(value),
        value=value,
        is_implicit_VR=False,
        is_little_endian=True,
    )


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:  # a misspelt keyword: found by the first test that copies anything
        raise KeyError(keyword)
    return tag
