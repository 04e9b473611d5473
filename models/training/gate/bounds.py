"""From which odds on a picture is refused: for each reason, chosen on whole hands kept out.

A hand's odds for a reason are those against "one whole hand". Each reason may refuse a small share
of good hands, and the network's last layer is shifted so that its odds are even there; a bound on
the probability of one whole hand then holds for all reasons together.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from models.gate.network import KINDS, GateNetwork, Kind
from models.gate.trained import look
from models.gate.view import gate_view
from models.training.gate.pool import Plan, chosen_hands
from models.training.split import Part
from models.transforms import squash

#: share of good hands that each reason may refuse; a cut or covered hand looks most like a good one
MOST_REFUSED: Mapping[Kind, float] = MappingProxyType(
    {Kind.NOT_A_HAND: 0.0004, Kind.BOTH_HANDS: 0.0004, Kind.CUT_OFF: 0.003, Kind.COVERED: 0.001}
)
#: share that all of them together may refuse
MOST_REFUSED_IN_ALL = 0.004
#: probabilities below this say nothing more
LEAST_PROBABILITY = 1e-9

Numbers = NDArray[np.float64]


def _odds(network: GateNetwork, plan: Plan) -> Numbers:
    """Return logarithms of odds against one whole hand, ``(hand, kind)``, of hands kept out.

    They are those of the training part that no example was made of, and those of the parts that
    choose recipes and fit intervals.
    """
    archive, rule = plan.cohort.open_archive(), plan.rule
    hands = [plan.hands[int(index)] for index in chosen_hands(plan)]
    for part in (Part.VALIDATE, Part.CALIBRATE):
        hands += plan.cohort.select(part)
    said = []
    for one in hands:
        stored = archive.read(folder=one.folder, image_id=one.image_id)
        view = gate_view(squash(stored, size=rule.working_size), size=plan.size, rule=rule)
        kinds = look(network, view).kinds
        said.append([max(kinds[kind], LEAST_PROBABILITY) for kind in KINDS])
    logs = np.log(np.array(said, dtype=np.float64))
    against: Numbers = logs - logs[:, [KINDS.index(Kind.HAND)]]
    return against


def shifts_of(odds: Numbers) -> Numbers:
    """Return what to add to the odds of each kind, ``(kind,)``, for even odds at its bound.

    Args:
        odds: logarithms against one whole hand, ``(hand, kind)``.
    """
    shifts = np.zeros(len(KINDS))
    for kind, share in MOST_REFUSED.items():
        column = KINDS.index(kind)
        shifts[column] = -float(np.quantile(odds[:, column], 1 - share))
    return shifts


def set_bounds(network: GateNetwork, plan: Plan) -> float:
    """Shift the network's odds in place; return the probability of a hand below which to refuse.

    Args:
        network: trained, in evaluation mode.
        plan: of the hands that were kept out.
    """
    odds = _odds(network, plan)
    shifts = shifts_of(odds)
    with torch.no_grad():
        network.head.bias[: len(KINDS)] += torch.from_numpy(shifts).to(network.head.bias)
    hand = 1 / np.exp(odds + shifts).sum(axis=1)  # odds of the hand against itself: 1
    return round(float(np.quantile(hand, MOST_REFUSED_IN_ALL)), 3)
