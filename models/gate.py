"""May this image be read at all? A first, simple gate that looks at pixels alone.

It knows size, aspect, contrast and how much of the exposed area is bright. Air is dark and fills
most of a hand radiograph; chests, knees and spines fill the field, and so does an image whose
polarity the header tells wrongly. The bounds were set on training children and on the pictures
of `not_hand.csv` whose terms allow it; the card of a release says how many hands it refuses and
how many others it lets pass. It is a first guard, no expert: a foot passes.
"""

import numpy as np
from numpy.typing import NDArray

from models.transforms import FlatImageError, find_exposed_area, squash, to_unit_range
from schemas.estimates import GateVerdict, QualityFlag
from schemas.refusals import RefusalReason
from schemas.releases import PreprocessingRule

LEAST_SIDE = 200  #: pixels; the training files have 299
LOW_RESOLUTION_SIDE = 400  #: pixels; below it a growth plate is about one pixel wide
MOST_ASPECT = 2.5  #: longer over shorter side; 1,067 native hands stay below 1.9
#: percentile range as a share of the full range below which a flag is set (4 % of hands)
LOW_CONTRAST = 0.1
#: mean of the unit range inside the exposed area above which an image is no hand …
MOST_BRIGHTNESS = 0.52
#: … if its contrast is at least this; pale film scans of hands have less
BRIGHTNESS_NEEDS_CONTRAST = 0.5


def _refuse(reason: RefusalReason, *, keyword: str, found: float, expected: str) -> GateVerdict:
    return GateVerdict(refusal=reason, keyword=keyword, found=f"{found:.3g}", expected=expected)


def _judge_shape(rows: int, columns: int) -> GateVerdict | None:
    shorter, longer = sorted((rows, columns))
    if shorter < LEAST_SIDE:
        return _refuse(
            RefusalReason.TOO_SMALL,
            keyword="shorter side in pixels",
            found=shorter,
            expected=f"at least {LEAST_SIDE}",
        )
    if longer > MOST_ASPECT * shorter:
        return _refuse(
            RefusalReason.NOT_A_HAND,
            keyword="longer over shorter side",
            found=longer / shorter,
            expected=f"at most {MOST_ASPECT}",
        )
    return None


def _judge_contents(pixels: NDArray[np.float32], rule: PreprocessingRule) -> GateVerdict:
    image = squash(pixels, size=rule.working_size)
    inside = find_exposed_area(image, tolerance=rule.border_tolerance)
    try:
        unit = to_unit_range(image, inside=inside, rule=rule)
    except FlatImageError as error:
        return _refuse(
            RefusalReason.POOR_CONTRAST,
            keyword="contrast between the clipping percentiles",
            found=error.contrast,
            expected=f"a share of at least {rule.min_contrast:.3g}",
        )
    low, high = np.percentile(image[inside], (rule.clip_percent, 100 - rule.clip_percent))
    contrast = float(high - low) / float(np.ptp(image))
    brightness = float(unit[inside].mean())
    if brightness > MOST_BRIGHTNESS and contrast > BRIGHTNESS_NEEDS_CONTRAST:
        return _refuse(
            RefusalReason.NOT_A_HAND,
            keyword="mean brightness of the exposed area",
            found=brightness,
            expected=f"at most {MOST_BRIGHTNESS} (a hand with air around it)",
        )
    flags = [QualityFlag.LOW_CONTRAST] if contrast < LOW_CONTRAST else []
    if min(pixels.shape) < LOW_RESOLUTION_SIDE:
        flags.append(QualityFlag.LOW_RESOLUTION)
    return GateVerdict(refusal=None, flags=tuple(flags))


def judge_pixels(pixels: NDArray[np.float32], *, rule: PreprocessingRule) -> GateVerdict:
    """Return whether these pixels may be read, and what is doubtful about them.

    Args:
        pixels: ``(rows, columns)`` display values after modality LUT, VOI and polarity.
        rule: the release's preprocessing.
    """
    shape = _judge_shape(*pixels.shape)
    if shape is not None:
        return shape
    if not np.isfinite(pixels).all():
        return GateVerdict(
            refusal=RefusalReason.UNREADABLE_PIXELS,
            keyword="pixel values",
            found="not finite",
            expected="finite numbers",
        )
    return _judge_contents(pixels, rule)
