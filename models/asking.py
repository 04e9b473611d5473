"""Ask one member about a batch of images: months for each sex, and where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.engines.openvino import OpenVinoMember
from models.member_input import MemberInput, Picture
from models.release.load import LoadedMember
from models.saliency import contributions, empty_exposure, onto_source_grid
from models.transforms import normalise
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.releases import PreprocessingRule


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberReading:
    """What one member says about a batch of images, each read as every sex asked for."""

    months: tuple[tuple[float, ...], ...]  #: for each image, for each of its sexes
    cells: NDArray[np.float32]  #: ``(image, view, rows, columns)`` months, of the first sex
    views: tuple[tuple[MemberInput, ...], ...]  #: for each image, what the member saw of it
    intercepts: NDArray[np.float32]  #: ``(image,)`` months


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An image that is ready for the networks."""

    image: HandImage
    picture: Picture
    views: tuple[tuple[MemberInput, ...], ...]  #: for each member
    milliseconds: float  #: that this took


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the networks said to one image of a batch."""

    asked: tuple[MemberReading, ...]  #: for each member, of the whole batch
    index: int  #: of the image in it
    milliseconds: float  #: its share of the time


def sex_input(sexes: Sequence[Sex], *, device: torch.device) -> Tensor:
    """Return ``(batch, 1)`` float32: 1.0 male, 0.0 female."""
    values = [[_number_of(sex)] for sex in sexes]
    return torch.tensor(values, dtype=torch.float32, device=device)


def _number_of(sex: Sex) -> float:
    return 1.0 if sex is Sex.MALE else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one member said to a batch of views, and what its heatmaps are made from."""

    inputs: Tensor  #: ``(image and view, 1, size, size)``
    feature_map: Tensor  #: ``(image and view, channels, rows, columns)``
    sexes: Tensor  #: ``(image and sex, 1)``
    months: Tensor  #: ``(image and sex, view)``


def say(
    member: LoadedMember,
    given: Sequence[tuple[MemberInput, ...]],
    sexes: Sequence[tuple[Sex, ...]],
    *,
    device: torch.device,
) -> Said:
    """Run one member once over a batch; the head alone runs again for each further sex."""
    network = member.network
    count = len(given[0])  # views of an image
    inputs = torch.stack([one.values for views in given for one in views]).to(device)
    with torch.no_grad():
        feature_map = network.features(inputs.contiguous(memory_format=torch.channels_last))
        rows = [index for index, asked in enumerate(sexes) for _ in asked]
        flat = sex_input([sex for asked in sexes for sex in asked], device=inputs.device)
        shown = [row * count + view for row in rows for view in range(count)]
        said = network.head(feature_map[shown], flat.repeat_interleave(count, dim=0))
    return Said(inputs=inputs, feature_map=feature_map, sexes=flat, months=said.view(-1, count))


def months_of(said: Said, sexes: Sequence[tuple[Sex, ...]]) -> tuple[tuple[float, ...], ...]:
    """Return months for each image and each of its sexes, mean of its views."""
    months = iter(said.months.mean(dim=1).tolist())
    return tuple(tuple(next(months) for _ in asked) for asked in sexes)


def ask_member(
    member: LoadedMember,
    given: Sequence[tuple[MemberInput, ...]],
    sexes: Sequence[tuple[Sex, ...]],
    *,
    device: torch.device,
    empty: Tensor | None,
) -> MemberReading:
    """Run one member once over a batch, and explain what it says.

    Args:
        member: network and manifest entry.
        given: for each image, the views that its preprocessing made for this member; as many for
            each.
        sexes: for each image, the sexes it is to be read as; at least one.
        device: where the member's network is.
        empty: its map of an empty exposure; None: made from each view's least value.
    """
    network = member.network
    count = len(given[0])  # views of an image
    said = say(member, given, sexes, device=device)
    starts = np.cumsum([0, *(len(asked) for asked in sexes[:-1])])  # each image's first sex
    parts = contributions(
        network,
        said.feature_map,
        said.sexes[starts].repeat_interleave(count, dim=0),
        empty=empty_exposure(network, said.inputs) if empty is None else empty,
        estimate=said.months[starts].flatten(),
    )
    cells = parts.months.cpu().numpy()
    return MemberReading(
        months=months_of(said, sexes),
        cells=cells.reshape(len(given), count, *cells.shape[1:]),
        views=tuple(given),
        intercepts=parts.intercept_months.view(-1, count).mean(dim=1).cpu().numpy(),
    )


def ask_compiled(
    member: OpenVinoMember,
    given: Sequence[tuple[MemberInput, ...]],
    sexes: Sequence[tuple[Sex, ...]],
) -> MemberReading:
    """Return what ``ask_member`` returns, from a compiled member; one image after the other."""
    months: list[tuple[float, ...]] = []
    cells, intercepts = [], []
    for views, asked in zip(given, sexes, strict=True):
        values = np.stack([one.values.numpy() for one in views])
        answers = [member(values, sex=_number_of(sex)) for sex in asked]
        said = [float(answer.months.mean()) for answer in answers]
        months.append(tuple(said))
        cells.append(answers[0].cells)
        intercepts.append(said[0] - float(answers[0].cells.sum()) / len(views))
    return MemberReading(
        months=tuple(months),
        cells=np.stack(cells),
        views=tuple(given),
        intercepts=np.array(intercepts, dtype=np.float32),
    )


def place(one: MemberReading, index: int, *, picture: Picture) -> NDArray[np.float32]:
    """Return a member's map of one image on the grid over the whole image, mean of its views."""
    fields = []
    for cells, view in zip(one.cells[index], one.views[index], strict=True):
        placed = onto_source_grid(
            cells,
            view.frame,
            input_size=view.values.shape[-1],
            rows=picture.rows,
            columns=picture.columns,
            tissue=picture.tissue[:, ::-1] if view.is_mirrored else picture.tissue,
        )
        fields.append(placed[:, ::-1] if view.is_mirrored else placed)
    return np.asarray(np.mean(fields, axis=0), dtype=np.float32)


def empty_of(member: LoadedMember, rule: PreprocessingRule) -> Tensor | None:
    """Return a member's map of an empty exposure, where its rule says what air looks like."""
    if member.entry.preprocessing is not None:
        return None
    size = member.entry.input_size
    air = normalise(np.zeros((size, size), dtype=np.float32), rule=rule)
    device = next(member.network.parameters()).device
    return empty_exposure(member.network, torch.from_numpy(air)[None, None].to(device))
