"""UIDs of everything in a report; whatever decides the content decides them."""

from dataclasses import replace

from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from schemas.config import SrClass
from schemas.jobs import FormerReport
from schemas.results import ResultContent, ResultIdentity, identity_of, output_uid

SR_CLASS_UIDS: dict[SrClass, UID] = {
    SrClass.COMPREHENSIVE_3D: Comprehensive3DSRStorage,
    SrClass.COMPREHENSIVE: ComprehensiveSRStorage,
    SrClass.ENHANCED: EnhancedSRStorage,
    SrClass.BASIC_TEXT: BasicTextSRStorage,
}

#: of this software, in every file that it writes (PS3.7 D.3.3.2)
IMPLEMENTATION_CLASS_UID = UID("2.25.234714391058432071285934113207364915022")
IMPLEMENTATION_VERSION_NAME = "BONEAGE_WORKER"


def report_uid(content: ResultContent, sop_class_uid: str) -> str:
    """Return the SOP Instance UID of the report in one SOP class."""
    return output_uid(identity_of(content, kind=f"SR:{sop_class_uid}"))


def report_series_uid(content: ResultContent) -> str:
    """Return the series of the report, the same for each class of one revision."""
    return output_uid(identity_of(content, kind="series:SR"))


def former_series_uid(content: ResultContent, former: FormerReport) -> str:
    """Return the series of a report that ``content`` supersedes."""
    return output_uid(
        replace(
            identity_of(content, kind="series:SR"),
            revision=former.revision,
            release_digest=former.release_digest,
            profile_digest=former.profile_digest,
        )
    )


def capture_uid(content: ResultContent) -> str:
    """Return the SOP Instance UID of the secondary capture."""
    return output_uid(identity_of(content, kind="SC"))


def capture_series_uid(content: ResultContent) -> str:
    """Return the series of the secondary capture."""
    return output_uid(identity_of(content, kind="series:SC"))


def heatmap_uid(content: ResultContent) -> str:
    """Return the SOP Instance UID of the capture with the heatmap alone."""
    return output_uid(identity_of(content, kind="HEATMAP"))


def heatmap_series_uid(content: ResultContent) -> str:
    """Return the series of the capture with the heatmap alone."""
    return output_uid(identity_of(content, kind="series:HEATMAP"))


def tracking_uid(content: ResultContent) -> str:
    """Return what follows one measurement of one image through all its classes."""
    return output_uid(identity_of(content, kind="tracking"))


def device_uid(content: ResultContent) -> str:
    """Return the UID of this installation as an observer."""
    return output_uid(
        ResultIdentity(
            installation_id=content.installation_id,
            source_sop_instance_uid="",
            release_digest="",
            profile_digest="",
            kind="device",
            revision=0,
        )
    )
