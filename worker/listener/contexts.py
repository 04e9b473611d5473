"""What this SCP takes: SOP classes and transfer syntaxes, as in the conformance statement."""

from collections.abc import Sequence

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

VERIFICATION = UID("1.2.840.10008.1.1")  # PS3.4 annex A

SECONDARY_CAPTURES = frozenset(
    str(uid)
    for uid in (
        SecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    )
)
RADIOGRAPHS = frozenset(
    str(uid)
    for uid in (
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    )
)

#: Taken to recognise our own reports when they are routed back; nobody else's is kept.
REPORTS = frozenset(
    str(uid)
    for uid in (
        Comprehensive3DSRStorage,
        ComprehensiveSRStorage,
        EnhancedSRStorage,
        BasicTextSRStorage,
    )
)

#: Every syntax that inference can decode; files are stored as received.
TRANSFER_SYNTAXES: Sequence[UID] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
)
_SYNTAXES_WITHOUT_PIXELS: Sequence[UID] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)


def supported_contexts() -> list[PresentationContext]:
    """Return the presentation contexts of this SCP: images, our reports, and verification."""
    images = [
        build_context(sop_class, list(TRANSFER_SYNTAXES))
        for sop_class in sorted(RADIOGRAPHS | SECONDARY_CAPTURES)
    ]
    reports = [
        build_context(sop_class, list(_SYNTAXES_WITHOUT_PIXELS)) for sop_class in sorted(REPORTS)
    ]
    verification = build_context(VERIFICATION, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    return [*images, *reports, verification]
