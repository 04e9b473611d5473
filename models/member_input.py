"""One image on its way to the members: each gets the input that its own rule asks for."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.foreign_preprocessing import Frame, Grey, grey_levels, prepare
from models.transforms import to_model_input, to_working_image
from schemas.releases import Member, PreprocessingRule


class HandFinder(Protocol):
    """Says where the hand is."""

    def __call__(self, grey: Grey) -> NDArray[np.bool_]:
        """Return ``(rows, columns)``, True on the hand."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInput:
    """What one member is given."""

    values: Tensor  #: ``(1, size, size)`` float32
    frame: Frame | None  #: the part of the source image that it shows; None: all of it, squashed


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
        self._pixels = pixels
        self._rule = rule
        self._find_hand = find_hand

    @cached_property
    def _working(self) -> NDArray[np.float32]:
        return to_working_image(self._pixels, rule=self._rule)

    @cached_property
    def _grey(self) -> Grey:
        return grey_levels(self._pixels)

    @cached_property
    def _hand(self) -> NDArray[np.bool_] | None:
        return None if self._find_hand is None else self._find_hand(self._grey)

    def input_for(self, member: Member) -> MemberInput:
        """Return what a member is given: by its own rule, or else by that of the release.

        Raises:
            FlatImageError: the image is almost uniform.
            NoHandFoundError: the member wants the hand alone, and none is found.
        """
        wanted = member.preprocessing
        if wanted is None:
            values = to_model_input(self._working, size=member.input_size, rule=self._rule)
            return MemberInput(values=values, frame=None)
        hand = self._hand if wanted.use_mask else None
        prepared, frame = prepare(self._grey, hand=hand, rule=wanted, size=member.input_size)
        return MemberInput(values=torch.from_numpy(prepared).unsqueeze(0), frame=frame)
