"""One image on its way to the members: each gets the views that its own rule asks for."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.foreign_preprocessing import Frame, Grey, grey_levels, prepare
from models.saliency import tissue_share
from models.transforms import to_model_input, to_working_image
from models.upright import turn_upright
from schemas.releases import Averaging, Member, PreprocessingRule


class HandFinder(Protocol):
    """Says where the hand is."""

    def __call__(self, grey: Grey) -> NDArray[np.bool_]:
        """Return ``(rows, columns)``, True on the hand."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInput:
    """One view that a member is given."""

    values: Tensor  #: ``(1, size, size)`` float32
    frame: Frame  #: the part of the image that it shows
    is_mirrored: bool = False  #: left and right are exchanged


def _mirrored(one: MemberInput, *, columns: int) -> MemberInput:
    """Return the mirror image of a view; its frame is a part of the mirrored image."""
    left = columns - one.frame.left - one.frame.width
    # by NumPy: PyTorch would wake its threads, which then wait on the cores that an engine needs
    values = torch.from_numpy(np.ascontiguousarray(one.values.numpy()[..., ::-1]))
    return MemberInput(values=values, frame=replace(one.frame, left=left), is_mirrored=True)


def _five_crops(whole: MemberInput, *, size: int) -> tuple[MemberInput, ...]:
    """Return the four corners and the middle, ``size`` pixels wide, of a larger view."""
    side = whole.values.shape[-1]
    end, middle = side - size, (side - size) // 2
    height, width = whole.frame.height / side, whole.frame.width / side  # of one pixel
    return tuple(
        MemberInput(
            values=whole.values[:, top : top + size, left : left + size],
            frame=Frame(
                top=whole.frame.top + top * height,
                left=whole.frame.left + left * width,
                height=size * height,
                width=size * width,
            ),
        )
        for top, left in ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))
    )


class Picture:
    """One image; what several members need of it is made once, when the first asks."""

    def __init__(
        self,
        pixels: NDArray[np.float32],
        *,
        rule: PreprocessingRule,
        find_hand: HandFinder | None = None,
    ) -> None:
        """``pixels``: ``(rows, columns)`` display values, bone bright, any range."""
        self._upright = turn_upright(pixels, rule=rule) if rule.upright else None
        self._pixels = pixels if self._upright is None else self._upright.pixels
        self.rows, self.columns = self._pixels.shape
        self._rule = rule
        self._find_hand = find_hand
        self._views: dict[tuple[object, ...], tuple[MemberInput, ...]] = {}

    @cached_property
    def _working(self) -> NDArray[np.float32]:
        return to_working_image(self._pixels, rule=self._rule)

    @cached_property
    def tissue(self) -> NDArray[np.float32]:
        """How much of each field of a heatmap is tissue, ``(GRID, GRID)``."""
        return tissue_share(self._working)

    def fields_as_it_lay(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map over what the members saw as one over the image that came."""
        return fields if self._upright is None else self._upright.fields_of_source(fields)

    @cached_property
    def _grey(self) -> Grey:
        return grey_levels(self._pixels)

    @cached_property
    def _hand(self) -> NDArray[np.bool_] | None:
        return None if self._find_hand is None else self._find_hand(self._grey)

    def views_for(self, member: Member) -> tuple[MemberInput, ...]:
        """Return the views that a member is given; the months said to them are averaged.

        Members that want the same share them.

        Raises:
            FlatImageError: the image is almost uniform.
            NoHandFoundError: the member wants the hand alone, and none is found.
        """
        wanted = (member.preprocessing, member.averaging, member.input_size, member.crop_share)
        if wanted not in self._views:
            self._views[wanted] = self._views_for(member)
        return self._views[wanted]

    def _views_for(self, member: Member) -> tuple[MemberInput, ...]:
        if member.averaging is Averaging.FIVE_CROPS:
            whole = self._view(member, size=round(member.input_size / member.crop_share))
            return _five_crops(whole, size=member.input_size)
        view = self._view(member, size=member.input_size)
        if member.averaging is Averaging.MIRROR:
            return (view, _mirrored(view, columns=self.columns))
        return (view,)

    def _view(self, member: Member, *, size: int) -> MemberInput:
        """Return the whole picture as a member's rule, or else the release's, prepares it."""
        wanted = member.preprocessing
        if wanted is None:
            values = to_model_input(self._working, size=size, rule=self._rule)
            whole = Frame(top=0.0, left=0.0, height=self.rows, width=self.columns)
            return MemberInput(values=values, frame=whole)
        hand = self._hand if wanted.use_mask else None
        prepared, frame = prepare(self._grey, hand=hand, rule=wanted, size=size)
        return MemberInput(values=torch.from_numpy(prepared).unsqueeze(0), frame=frame)
