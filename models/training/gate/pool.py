"""Thousands of examples, made once from one seed and kept: making them costs more than learning."""

import functools
import hashlib
import inspect
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.gate.network import KINDS
from models.training.annotations import Annotation
from models.training.cohort import Cohort
from models.training.gate import covers, detector, examples, made_up, wrist
from models.training.gate.examples import (
    MIXTURE,
    SIDE,
    Hand,
    OtherPicture,
    make_example,
    read_others,
    unit_pictures,
)
from models.training.gate.made_up import Picture
from models.training.gate.wrist import WristFinder, fit_wrist_finder
from models.training.prepared import Preparation, prepare_images
from models.training.regions import read_boxes, wrist_of
from models.transforms import DEFAULT_RULE
from schemas.releases import PreprocessingRule

#: side of the pictures that are no hands before a part is cut out of them
OTHER_SIDE = 384
#: examples that one process makes at a time
SHARD = 1000
#: of the training children, every tenth is kept for choosing the bounds
HELD_OUT_EVERY = 10
#: with fewer children whose bones are outlined the wrist is taken where it usually begins
LEAST_OUTLINED = 50
#: median of the outlined children
USUAL_WRIST = 0.72
#: what decides how a picture looks; a pool made by other code is not used again
MAKERS = (covers, detector, examples, made_up, wrist)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Examples as arrays, ``(example, …)``."""

    views: NDArray[np.uint8]  #: ``(example, size, size)``, 255 bone
    kinds: NDArray[np.int64]  #: index in ``KINDS``
    turns: NDArray[np.int64]
    inverted: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pool is made of; equal plans make equal pools."""

    cohort: Cohort
    hands: tuple[Annotation, ...]
    cache: Path
    size: int
    seed: int
    held_out: bool = False  #: hands and other pictures that are kept from training
    rule: PreprocessingRule = DEFAULT_RULE


def _others(plan: Plan) -> Sequence[OtherPicture]:
    read = read_others(plan.cohort.data)
    if plan.held_out:
        return [one for one in read if one.has_open_terms and not one.may_train]
    return [one for one in read if one.may_train]


def chosen_hands(plan: Plan) -> NDArray[np.intp]:
    """Return which of the hands are used."""
    every = np.arange(len(plan.hands))
    chosen: NDArray[np.intp] = every[(every % HELD_OUT_EVERY == 0) == plan.held_out]
    return chosen


def _read_hands(plan: Plan) -> NDArray[np.generic]:
    how = Preparation(cohort=plan.cohort, rule=plan.rule)
    return prepare_images(how, plan.hands, size=SIDE, cache=plan.cache)


def _find_wrists(plan: Plan) -> WristFinder | None:
    """Return who finds wrists, learned from the training children whose bones are outlined."""
    boxes, images = read_boxes(plan.cohort.data), _read_hands(plan)
    known = [
        (index, wrist_of(boxes.get(one.patient_id, []))) for index, one in enumerate(plan.hands)
    ]
    outlined = [(index, share) for index, share in known if share is not None]
    if len(outlined) < LEAST_OUTLINED:
        return None
    return fit_wrist_finder(
        [np.asarray(images[index], dtype=np.float32) for index, _ in outlined],
        [share for _, share in outlined],
    )


def _hand(unit: Picture, finder: WristFinder | None) -> Hand:
    return Hand(unit=unit, wrist=finder.find(unit) if finder else USUAL_WRIST)


def _make_shard(plan: Plan, finder: WristFinder | None, first: int, count: int) -> Pool:
    cv2.setNumThreads(1)
    images = _read_hands(plan)
    others: list[Picture] = unit_pictures(_others(plan), side=OTHER_SIDE, rule=plan.rule)
    usable = chosen_hands(plan)
    shares = [MIXTURE[kind] for kind in KINDS]
    views = np.empty((count, plan.size, plan.size), dtype=np.uint8)
    told = np.empty((count, 3), dtype=np.int64)
    for index in range(count):
        random = np.random.default_rng((plan.seed, first + index))
        kind = KINDS[int(random.choice(len(KINDS), p=shares))]
        chosen = random.choice(usable, size=2)
        hands = [_hand(np.asarray(images[int(one)], dtype=np.float32), finder) for one in chosen]
        example = make_example(kind, hands, others, random, size=plan.size, rule=plan.rule)
        views[index] = np.rint(255 * example.view)
        told[index] = (KINDS.index(kind), example.turn, example.inverted)
    return Pool(views=views, kinds=told[:, 0], turns=told[:, 1], inverted=told[:, 2])


def make_pool(plan: Plan, *, count: int, workers: int = 1) -> Pool:
    """Return examples, made on the first call and read from the cache after that.

    Args:
        plan: what they are made of.
        count: how many.
        workers: processes that make them.

    Raises:
        NoTrainingDataError: the data are not there.
    """
    names = "\n".join(one.image_id for one in plan.hands)
    told = f"{plan.size}\n{plan.seed}\n{plan.held_out}\n{count}\n{plan.rule!r}\n{names}"
    makers = "\n".join(inspect.getsource(one) for one in MAKERS)
    key = hashlib.sha256(f"{told}\n{makers}".encode()).hexdigest()[:16]
    path = plan.cache / f"gate-{key}.npz"
    if not path.exists():
        firsts = range(0, count, SHARD)
        counts = [min(SHARD, count - first) for first in firsts]
        spawn = get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn) as processes:
            make = functools.partial(_make_shard, plan, _find_wrists(plan))
            shards = list(processes.map(make, firsts, counts))
        beside = path.with_suffix(".part.npz")
        np.savez(
            beside,
            views=np.concatenate([one.views for one in shards]),
            kinds=np.concatenate([one.kinds for one in shards]),
            turns=np.concatenate([one.turns for one in shards]),
            inverted=np.concatenate([one.inverted for one in shards]),
        )
        beside.rename(path)
    kept = np.load(path)
    return Pool(**{name: kept[name] for name in ("views", "kinds", "turns", "inverted")})
