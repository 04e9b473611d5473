"""Why an image was not read: one coded list, a sentence for the physician, one for the operator."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class RefusalReason(StrEnum):
    """A stable code for audit trail and metrics; `schemas.codes` has the one for the report."""

    NOT_A_HAND = "not_a_hand"
    BOTH_HANDS = "both_hands"
    CUT_OFF = "cut_off"
    COVERED = "covered"
    AGE_OUTSIDE_RANGE = "age_outside_range"
    NO_PIXEL_DATA = "no_pixel_data"
    UNREADABLE_PIXELS = "unreadable_pixels"
    UNSUPPORTED_IMAGE = "unsupported_image"
    TOO_SMALL = "too_small"
    POOR_CONTRAST = "poor_contrast"
    CONTRADICTION = "contradiction"
    NO_DESTINATION = "no_destination"
    TECHNICAL = "technical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason in words."""

    physician: str  #: stands in the report; says why and what to do
    operator: str  #: stands in `jobs show`; says where to look


REFUSALS = MappingProxyType(
    {
        RefusalReason.NOT_A_HAND: Refusal(
            physician="This does not look like a radiograph of a hand and wrist. "
            "Bone age was not estimated; please read the image by eye.",
            operator="The gate took the pixels for something other than a hand.",
        ),
        RefusalReason.BOTH_HANDS: Refusal(
            physician="Two hands are in this image. Bone age was not estimated; "
            "send one hand, preferably the left, in an image of its own.",
            operator="The gate found two hands in one image.",
        ),
        RefusalReason.CUT_OFF: Refusal(
            physician="Fingertips or wrist are cut off in this image. Bone age was not estimated.",
            operator="The gate found that the hand leaves the exposed field.",
        ),
        RefusalReason.COVERED: Refusal(
            physician="A cast or metal seems to lie over the bones. Bone age was not estimated; "
            "send an image of the uncovered hand, if need be of the other one.",
            operator="The gate found something bright over the hand: plaster, plates, wires.",
        ),
        RefusalReason.AGE_OUTSIDE_RANGE: Refusal(
            physician="The chronological age, or the age that the image shows, lies outside the "
            "ages that this network was made for. Bone age was not estimated.",
            operator="The chronological age lies outside the range of the release or above 19 "
            "years, or the networks gave an age outside that range.",
        ),
        RefusalReason.NO_PIXEL_DATA: Refusal(
            physician="The object holds no image. Bone age was not estimated.",
            operator="Pixel Data (7FE0,0010) is absent or empty.",
        ),
        RefusalReason.UNREADABLE_PIXELS: Refusal(
            physician="The image could not be decoded. Bone age was not estimated; "
            "please send the image again.",
            operator="Pixel Data does not decode in its transfer syntax: ask the sender.",
        ),
        RefusalReason.UNSUPPORTED_IMAGE: Refusal(
            physician="This kind of image is not read (colour, several frames or an unknown "
            "photometric interpretation). Bone age was not estimated.",
            operator="Only single-frame MONOCHROME1 and MONOCHROME2 images are read.",
        ),
        RefusalReason.TOO_SMALL: Refusal(
            physician="The image has too few pixels to be read. Bone age was not estimated.",
            operator="Rows or Columns are below the least size of the release.",
        ),
        RefusalReason.POOR_CONTRAST: Refusal(
            physician="The image is almost uniform. Bone age was not estimated.",
            operator="The contrast after modality and VOI LUT is below the least of the release.",
        ),
        RefusalReason.CONTRADICTION: Refusal(
            physician="The header contradicts itself about the patient's sex, age or dates. "
            "Bone age was not estimated; please correct the entries and send the image again.",
            operator="Compare birth date, study date, Patient's Age and Patient's Sex in the "
            "header.",
        ),
        RefusalReason.NO_DESTINATION: Refusal(
            physician="No destination is configured for this sender. Bone age was not estimated.",
            operator="Add a [[peer]] with this AE title and destination = true, or name "
            "destinations in the rule; then `boneage jobs requeue`.",
        ),
        RefusalReason.TECHNICAL: Refusal(
            physician="Bone age could not be estimated for a technical reason. "
            "The operator has been told; a later result will supersede this report.",
            operator="All attempts failed; the last error stands in `boneage jobs show`.",
        ),
    }
)


class IgnoreReason(StrEnum):
    """Why nothing was done with an image, and nothing sent."""

    NO_RULE = "no_rule"
    FOR_PROCESSING = "for_processing"
    RULE = "rule"
