"""From stored values to display values: modality LUT, VOI, polarity, each once, in this order.

``display_values`` reads like a recipe; every step is a small pure function of arrays. What comes
out has bone bright and any range: scaling belongs to the release (``models.transforms``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from schemas.errors import UnsuitableImageError
from schemas.refusals import RefusalReason
from worker.inference.attributes import code_of, items_of, lenient_values, text_of
from worker.inference.decoding import stored_values


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRange:
    """The least and the greatest value that a step can give, whatever the image uses of it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A VOI window: VOI LUT Function, Window Center, Window Width (PS3.3 C.11.2.1.2)."""

    function: str
    center: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupTable:
    """A Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1)."""

    first: int  #: the input that the first entry stands for
    entries: NDArray[np.float32]
    bits: int  #: depth of an entry


def display_values(dataset: Dataset) -> NDArray[np.float32]:
    """Return what a viewer would show, ``(rows, columns)`` float32, bone bright, any range.

    The same image stored as MONOCHROME1 and, inverted, as MONOCHROME2 gives the same values.

    Raises:
        UnsuitableImageError: no image, not a single grey frame, not decodable, or a header that
            says two things about how it is to be shown.
    """
    with lenient_values():
        is_inverted = has_bright_low_values(dataset)
        stored = stored_values(dataset)
        padding = padding_mask(stored, limits=_padding_limits(dataset))
        values, possible = modality_values(dataset, stored)
        values, possible = voi_values(dataset, values, possible)
    bright = invert(values, possible) if is_inverted else values
    return darken_padding(bright, padding=padding)


def has_bright_low_values(dataset: Dataset) -> bool:
    """Say whether low values are to be shown bright.

    Photometric Interpretation and Presentation LUT Shape say the same thing twice: MONOCHROME1
    goes with INVERSE, MONOCHROME2 with IDENTITY (PS3.3 C.8.11.3.1.2), so it is done once.

    Raises:
        UnsuitableImageError: they contradict each other; one of two ages would be wrong.
    """
    photometric = code_of(dataset, "PhotometricInterpretation")
    shape = code_of(dataset, "PresentationLUTShape")
    usual = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(photometric)
    if usual is not None and shape and shape != usual:
        raise _unsupported(
            "PresentationLUTShape", f"{shape} with {photometric}", f"{usual} with it"
        )
    return photometric == "MONOCHROME1"


def padding_mask(
    stored: NDArray[np.integer], *, limits: tuple[int, int] | None
) -> NDArray[np.bool_] | None:
    """Return where a stored value is padding (PS3.3 C.7.5.1.1.2); ``None``: nowhere."""
    if limits is None:
        return None
    mask: NDArray[np.bool_] = (stored >= min(limits)) & (stored <= max(limits))
    return mask if mask.any() else None


def modality_values(
    dataset: Dataset, stored: NDArray[np.integer]
) -> tuple[NDArray[np.float32], ValueRange]:
    """Apply Modality LUT Sequence, or Rescale Slope and Intercept, if there are any."""
    possible = _stored_range(dataset)
    for item in items_of(dataset, "ModalityLUTSequence"):
        return look_up(stored, _lookup_table(item, dataset))
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    values = stored.astype(np.float32)
    if slope is None or intercept is None or (slope, intercept) == (1.0, 0.0):
        return values, possible
    ends = (possible.low * slope + intercept, possible.high * slope + intercept)
    rescaled = values * np.float32(slope) + np.float32(intercept)
    return rescaled, ValueRange(low=min(ends), high=max(ends))


def voi_values(
    dataset: Dataset, values: NDArray[np.float32], possible: ValueRange
) -> tuple[NDArray[np.float32], ValueRange]:
    """Apply the first VOI LUT, or else the first window, if there is any (PS3.3 C.11.2)."""
    for item in items_of(dataset, "VOILUTSequence"):
        return look_up(values, _lookup_table(item, dataset))
    window = _window(dataset)
    return (apply_window(values, window, possible) if window else values), possible


def look_up(
    values: NDArray[np.integer] | NDArray[np.float32], table: LookupTable
) -> tuple[NDArray[np.float32], ValueRange]:
    """Return the entry of each value; beyond the ends, the first and the last entry."""
    index = np.clip(np.rint(values).astype(np.int64) - table.first, 0, len(table.entries) - 1)
    return table.entries[index], ValueRange(low=0.0, high=float(2**table.bits - 1))


def apply_window(
    values: NDArray[np.float32], window: Window, possible: ValueRange
) -> NDArray[np.float32]:
    """Return the values through the window, spread over their whole possible range.

    So a window as wide as the range changes nothing.

    Raises:
        UnsuitableImageError: the width is below what the function allows, or the function is none
            of PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    least = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}.get(window.function)
    if least is None:
        raise _unsupported("VOILUTFunction", window.function, "LINEAR, LINEAR_EXACT and SIGMOID")
    if window.width <= least:
        raise _unsupported("WindowWidth", f"{window.width:g}", f"more than {least:g}")
    if window.function == "SIGMOID":
        steps = np.clip(-4.0 * (values - window.center) / window.width, -80.0, 80.0)
        unit = 1.0 / (1.0 + np.exp(steps))
        spread: NDArray[np.float32] = unit * (possible.high - possible.low) + possible.low
        return spread.astype(np.float32, copy=False)
    shift = 0.5 if window.function == "LINEAR" else 0.0
    center, width = window.center - shift, window.width - 2 * shift
    slope, middle = (possible.high - possible.low) / width, (possible.high + possible.low) / 2
    if (slope, center) == (1.0, middle):  # as wide as the range, as most are FOR PRESENTATION
        return np.clip(values, possible.low, possible.high)
    spread = values - np.float32(center)
    spread *= np.float32(slope)
    spread += np.float32(middle)
    return np.clip(spread, possible.low, possible.high, out=spread)


def invert(values: NDArray[np.float32], possible: ValueRange) -> NDArray[np.float32]:
    """Return the values mirrored within their possible range."""
    return np.float32(possible.low + possible.high) - values


def darken_padding(
    bright: NDArray[np.float32], *, padding: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Give padding the darkest value of the image itself: it was never exposed.

    Raises:
        UnsuitableImageError: there is nothing but padding.
    """
    if padding is None:
        return bright
    if padding.all():
        raise UnsuitableImageError(
            RefusalReason.NO_PIXEL_DATA,
            keyword="PixelData",
            found="padding only",
            expected="an image",
        )
    return np.where(padding, bright[~padding].min(), bright)


def _stored_range(dataset: Dataset) -> ValueRange:
    bits = int(dataset.BitsStored)
    if dataset.PixelRepresentation == 1:
        return ValueRange(low=-(2.0 ** (bits - 1)), high=2.0 ** (bits - 1) - 1)
    return ValueRange(low=0.0, high=2.0**bits - 1)


def _padding_limits(dataset: Dataset) -> tuple[int, int] | None:
    value = _number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    other = _number(dataset, "PixelPaddingRangeLimit")
    return int(value), int(value if other is None else other)


def _window(dataset: Dataset) -> Window | None:
    """Return the first window; ``None`` where center or width is absent or empty."""
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = code_of(dataset, "VOILUTFunction") or "LINEAR"
    return Window(function=function, center=center, width=width)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute; ``None`` if it is absent or empty.

    Raises:
        UnsuitableImageError: something is there that is no finite number.
    """
    text = text_of(dataset, keyword).split("\\")[0]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise _unsupported(keyword, "not a number", "a number")
    return value


def _lookup_table(item: Dataset, dataset: Dataset) -> LookupTable:
    """Read LUT Descriptor and LUT Data, which may be US, SS or OW (PS3.3 C.11.1.1.1)."""
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if not isinstance(descriptor, MultiValue | list) or len(descriptor) != 3 or not data:  # noqa: PLR2004 - its VM
        raise _unsupported("LUTDescriptor or LUTData", "incomplete", "three values and the table")
    count, first, bits = (int(each) for each in descriptor)
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] is not False else ">"
        is_packed = len(data) < 2 * (count or 65536)
        entries = np.frombuffer(data, dtype=np.uint8 if is_packed else f"{order}u2")
    else:
        entries = np.asarray(data, dtype=np.int64) & 0xFFFF
    count = count or 65536
    if len(entries) < count or not 1 <= bits <= 16:  # noqa: PLR2004 - PS3.3 C.11.1.1.1
        raise _unsupported("LUTData", f"{len(entries)} of {count} entries", "all entries")
    if dataset.PixelRepresentation == 1 and first >= 32768:  # noqa: PLR2004 - an SS read as US
        first -= 65536
    return LookupTable(first=first, entries=entries[:count].astype(np.float32), bits=bits)


def _unsupported(keyword: str, found: str, expected: str) -> UnsuitableImageError:
    return UnsuitableImageError(
        RefusalReason.UNSUPPORTED_IMAGE, keyword=keyword, found=found, expected=expected
    )
