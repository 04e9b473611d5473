"""May this image be read at all? Size, contrast, and what the release's trained gate sees.

A release without a trained gate has the simple bound alone: air is dark and fills most of a hand
radiograph; chests, knees and spines fill the field, and so does an image whose polarity the header
tells wrongly. The card of a release says how many hands its gate refuses and what it lets pass.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.gate.network import Kind
from models.gate.trained import TrainedGate
from models.gate.view import view_of
from models.transforms import FlatImageError, expose, squash
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

#: a trained gate's word for a picture → the coded reason
REASONS: Mapping[Kind, RefusalReason] = MappingProxyType(
    {
        Kind.NOT_A_HAND: RefusalReason.NOT_A_HAND,
        Kind.BOTH_HANDS: RefusalReason.BOTH_HANDS,
        Kind.CUT_OFF: RefusalReason.CUT_OFF,
        Kind.COVERED: RefusalReason.COVERED,
    }
)


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


def _judge_brightness(unit: NDArray[np.float32], *, contrast: float) -> GateVerdict:
    """Refuse what is bright nearly everywhere; ``unit``: values of the exposed area."""
    brightness = float(unit.mean())
    if brightness > MOST_BRIGHTNESS and contrast > BRIGHTNESS_NEEDS_CONTRAST:
        return _refuse(
            RefusalReason.NOT_A_HAND,
            keyword="mean brightness of the exposed area",
            found=brightness,
            expected=f"at most {MOST_BRIGHTNESS} (a hand with air around it)",
        )
    return GateVerdict(refusal=None)


def _judge_sight(view: NDArray[np.float32], gate: TrainedGate) -> GateVerdict:
    """Say what the trained gate sees, and how the image has to be mended."""
    look = gate.look(view)
    least = gate.entry.least_hand
    if not look.kinds[Kind.HAND] >= least:  # nor where it is no number
        seen = max(REASONS, key=lambda kind: look.kinds[kind])
        return _refuse(
            REASONS[seen],
            keyword="probability of one whole hand",
            found=look.kinds[Kind.HAND],
            expected=f"at least {least:.3g}",
        )
    flags = []
    if look.mending.is_inverted:
        flags.append(QualityFlag.POLARITY_MENDED)
    if look.mending.turns:
        flags.append(QualityFlag.ORIENTATION_MENDED)
    return GateVerdict(refusal=None, flags=tuple(flags), mending=look.mending)


def judge_form(pixels: NDArray[np.float32]) -> GateVerdict | None:
    """Return why these pixels cannot be looked at: their number, or what is none; None: they can.

    Args:
        pixels: ``(rows, columns)`` display values.
    """
    shape = _judge_shape(*pixels.shape)
    if shape is None and not np.isfinite(pixels).all():
        return GateVerdict(
            refusal=RefusalReason.UNREADABLE_PIXELS,
            keyword="pixel values",
            found="not finite",
            expected="finite numbers",
        )
    return shape


def judge_contents(
    pixels: NDArray[np.float32], *, rule: PreprocessingRule, gate: TrainedGate | None = None
) -> GateVerdict:
    """Return whether pixels of sound form may be read, what is doubtful, and what to mend.

    Args:
        pixels: ``(rows, columns)`` display values after modality LUT, VOI and polarity.
        rule: the release's preprocessing.
        gate: the release's trained gate, if it has one.
    """
    try:
        exposed = expose(squash(pixels, size=rule.working_size), rule=rule)
    except FlatImageError as error:
        return _refuse(
            RefusalReason.POOR_CONTRAST,
            keyword="contrast between the clipping percentiles",
            found=error.contrast,
            expected=f"a share of at least {rule.min_contrast:.3g}",
        )
    if gate is None:
        verdict = _judge_brightness(exposed.unit[exposed.inside], contrast=exposed.contrast)
    else:
        verdict = _judge_sight(view_of(exposed, size=gate.entry.input_size), gate)
    if verdict.refusal is not None:
        return replace(verdict, flags=())
    flags = [*verdict.flags]
    if exposed.contrast < LOW_CONTRAST:
        flags.append(QualityFlag.LOW_CONTRAST)
    if min(pixels.shape) < LOW_RESOLUTION_SIDE:
        flags.append(QualityFlag.LOW_RESOLUTION)
    return replace(verdict, flags=tuple(flags))
