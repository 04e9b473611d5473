"""Do the heatmaps mean something? Where their months lie, and whether the weights decide that.

The share of months is that of their absolute values: older and younger count alike. The share in
the hand is measured where the hand can be told from the frame of its field.
"""

import copy
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.ensemble import Ensemble
from models.evaluation.answers import Interview
from models.release.load import LoadedMember, LoadedRelease
from models.training.annotations import Annotation
from models.training.regions import Region, read_boxes
from models.transforms import to_working_image
from schemas.estimates import HandImage
from schemas.releases import HeatmapMeasures, PreprocessingRule

#: children whose heatmaps are made for the measures
HEATMAP_CHILDREN = 128
#: children for the comparisons that need a second heatmap
COMPARED_CHILDREN = 8
#: side of the grid that months and masks are compared on, pixels
FINE = 256
#: the hand's edge is soft: what lies within this many pixels of it belongs to it
SOFT_EDGE = 3
#: a forearm leaves the image by one side, or by two at a corner; a frame touches more
MOST_SIDES = 2
#: share of its convex hull that a hand fills at most: there is air between fingers
MOST_OF_HULL = 0.9
MARKER_SHARE = 0.08  #: side of the drawn marker, share of the image's height
BORDER_SHARE = 0.04  #: width of the drawn border, share of the shorter side
SEED = 5

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]


def hand_mask(pixels: Picture, *, rule: PreprocessingRule) -> Mask:
    """Return the bright region that fills most of the middle, ``(FINE, FINE)``: hand and forearm.

    Markers are no part of it, nor is a grey frame round the exposed field, unless it touches.
    """
    working = cv2.resize(to_working_image(pixels, rule=rule), (FINE, FINE))
    grey = (cv2.GaussianBlur(working, (0, 0), 1.0) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    count, labels = cv2.connectedComponents((grey > 0.7 * threshold).astype(np.uint8))
    middle = labels[FINE // 4 : -FINE // 4, FINE // 4 : -FINE // 4]
    pixels_of = np.bincount(middle.ravel(), minlength=count)
    pixels_of[0] = 0  # label 0 is everything dark
    if not pixels_of.any():
        return np.ones((FINE, FINE), dtype=np.bool_)
    hand = int(pixels_of.argmax())
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SOFT_EDGE + 1, 2 * SOFT_EDGE + 1))
    grown = cv2.dilate((labels == hand).astype(np.uint8), disc)
    return grown.astype(np.bool_)


def shows_a_hand(mask: Mask) -> bool:
    """Return whether a mask has a hand's shape: the frame of a field, or the field, has not.

    Months inside such a mask would count as inside the hand wherever they lie.
    """
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines))) if outlines else 0.0
    is_round_about = sum(bool(one.any()) for one in sides) > MOST_SIDES
    return bool(not is_round_about and 0 < mask.sum() <= MOST_OF_HULL * hull)


def spread(fields: Picture) -> Picture:
    """Return the absolute months of a coarse map on the fine grid, ``(FINE, FINE)``."""
    repeat = FINE // fields.shape[0]
    return np.asarray(np.kron(np.abs(fields), np.ones((repeat, repeat))), dtype=np.float32)


def share_inside(fields: Picture, mask: Mask) -> float:
    """Return the share of a map's absolute months inside a mask on the fine grid."""
    months = spread(fields)
    return float(months[mask].sum() / max(float(months.sum()), 1e-9))


def regions_mask(regions: Sequence[Region]) -> Mask:
    """Return where the boxes of ossification regions lie, ``(FINE, FINE)``."""
    mask = np.zeros((FINE, FINE), dtype=np.bool_)
    for _, left, top, right, bottom in regions:
        rows = slice(int(top * FINE), int(np.ceil(bottom * FINE)))
        columns = slice(int(left * FINE), int(np.ceil(right * FINE)))
        mask[rows, columns] = True
    return mask


def with_marker(pixels: Picture, *, corner: int) -> tuple[Picture, Mask]:
    """Return the image with a bright letter in a corner, and where that is on the fine grid."""
    marked, mask = pixels.copy(), np.zeros((FINE, FINE), dtype=np.bool_)
    rows, columns = pixels.shape
    side = round(MARKER_SHARE * rows)
    top = 0.02 if corner < 2 else 0.98 - side / rows  # noqa: PLR2004 - the upper two of four corners
    left = 0.02 if corner % 2 == 0 else 0.98 - side / columns
    first = (round(top * rows), round(left * columns))
    level = float(pixels.max())
    marked[first[0] : first[0] + side, first[1] : first[1] + side // 3] = level
    marked[first[0] + 2 * side // 3 : first[0] + side, first[1] : first[1] + side] = level
    mask[
        int(top * FINE) : int((top + side / rows) * FINE) + 1,
        int(left * FINE) : int((left + side / columns) * FINE) + 1,
    ] = True
    return marked, mask


def with_border(pixels: Picture) -> tuple[Picture, Mask]:
    """Return the image inside a white border, and where that is on the fine grid."""
    rows, columns = pixels.shape
    width = round(BORDER_SHARE * min(rows, columns))
    bordered = np.pad(pixels, width, constant_values=float(pixels.max())).astype(np.float32)
    mask = np.ones((FINE, FINE), dtype=np.bool_)
    down = int(np.ceil(width / bordered.shape[0] * FINE))
    across = int(np.ceil(width / bordered.shape[1] * FINE))
    mask[down:-down, across:-across] = False
    return bordered, mask


def _randomised(ensemble: Ensemble) -> Ensemble:
    """Return the ensemble with weights drawn anew: its heatmaps must look otherwise."""
    torch.manual_seed(SEED)
    members = []
    for one in ensemble.members:
        network = copy.deepcopy(one.network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        members.append(LoadedMember(entry=one.entry, network=network))
    return Ensemble(
        LoadedRelease(
            folder=ensemble.folder,
            manifest=ensemble.manifest,
            identity=ensemble.release,
            members=tuple(members),
            device=torch.device("cpu"),
        )
    )


def rank_correlation(first: Picture, second: Picture) -> float:
    """Return Spearman's correlation of the absolute months of two maps."""
    ranks = [np.abs(one).ravel().argsort().argsort() for one in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _fields(ensemble: Ensemble, pixels: Picture, one: Annotation) -> Picture:
    (reading,) = ensemble.read([HandImage(pixels=pixels, sexes=(one.sex,))])
    return reading.heatmap.months


def measure_heatmaps(
    interview: Interview, annotations: Sequence[Annotation]
) -> HeatmapMeasures | None:
    """Return what the heatmaps of the first children show; None without any child."""
    boxes = read_boxes(interview.cohort.data)
    boxed = [one for one in annotations if one.patient_id in boxes]
    chosen = list(dict.fromkeys([*boxed, *annotations]))[:HEATMAP_CHILDREN]
    names = [interview.name_of(one) for one in chosen]
    found = interview.remembered(
        "heatmaps", names, lambda: _measure_shares(interview, chosen), by_networks=True
    )
    return _summary(found) if found["hand"] else None


def _measure_shares(interview: Interview, chosen: Sequence[Annotation]) -> dict[str, list[float]]:
    """Return what is measured on each child, by what it is."""
    ensemble, rule = interview.ensemble, interview.ensemble.manifest.preprocessing
    archive, boxes = interview.cohort.open_archive(), read_boxes(interview.cohort.data)
    randomised = _randomised(ensemble)
    random = np.random.default_rng(SEED)
    found: dict[str, list[float]] = {
        key: [] for key in ("hand", "area", "regions", "regions area", "like", "marker", "border")
    }
    for index, one in enumerate(chosen):
        pixels = archive.read(folder=one.folder, image_id=one.image_id).astype(np.float32)
        fields = _fields(ensemble, pixels, one)
        hand = hand_mask(pixels, rule=rule)
        if shows_a_hand(hand):
            found["hand"].append(share_inside(fields, hand))
            found["area"].append(float(hand.mean()))
        if one.patient_id in boxes:
            regions = regions_mask(boxes[one.patient_id])
            found["regions"].append(share_inside(fields, regions))
            found["regions area"].append(float(regions.mean()))
        if index < COMPARED_CHILDREN:
            found["like"].append(rank_correlation(fields, _fields(randomised, pixels, one)))
            marked, marker = with_marker(pixels, corner=int(random.integers(4)))
            found["marker"].append(share_inside(_fields(ensemble, marked, one), marker))
            bordered, border = with_border(pixels)
            found["border"].append(share_inside(_fields(ensemble, bordered, one), border))
        interview.progress("heatmaps", index + 1, len(chosen))
    return found


def _summary(found: dict[str, list[float]]) -> HeatmapMeasures:
    mean = {
        key: round(float(np.mean(values)), 3) if values else None for key, values in found.items()
    }
    return HeatmapMeasures(
        n=len(found["hand"]),
        inside_hand=mean["hand"] or 0.0,
        hand_area=mean["area"] or 0.0,
        inside_regions=mean["regions"],
        regions_area=mean["regions area"],
        regions_n=len(found["regions"]),
        randomised_similarity=mean["like"],
        marker_share=mean["marker"],
        border_share=mean["border"],
    )
