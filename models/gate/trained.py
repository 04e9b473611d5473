"""The trained gate of a release: one look at a picture in every turn and polarity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.gate.network import KINDS, TURNS, GateNetwork, Kind, Sighting
from schemas.estimates import Mending
from schemas.releases import Gate

#: of a picture that the gate sees: all turns, as it is and inverted
VIEWS = 2 * TURNS
#: the gate's network, in whatever engine: ``(VIEWS, 1, size, size)`` → a sighting of each
Sees = Callable[[Tensor], Sighting]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the gate thinks of one picture."""

    kinds: Mapping[Kind, float]  #: probabilities, in sum 1
    mending: Mending  #: what makes it an upright hand with bright bones
    upright: float  #: probability that this is how it has to be turned


def look(network: Sees, view: NDArray[np.float32]) -> Look:
    """Return what a view shows and how it has to be mended.

    The network sees the view in all four turns, as it is and inverted, and its logarithms of odds
    are averaged: so a picture, its negative and its turned copies get one verdict.

    Args:
        network: the gate's, in evaluation mode.
        view: ``(input_size, input_size)`` from ``gate_view``.
    """
    views = [np.rot90(values, turn) for values in (view, 1.0 - view) for turn in range(TURNS)]
    batch = torch.from_numpy(np.stack(views).astype(np.float32) - 0.5).unsqueeze(1)
    with torch.no_grad():
        seen = network(batch)  # (8, …)
    kinds = np.exp(_log_softmax(_log_softmax(seen.kinds.numpy()).mean(axis=0)))
    said = _log_softmax(seen.turns.numpy())
    # a view turned by t more that seems to lie at u lies itself at u - t
    aligned = [np.roll(said[index], -(index % TURNS)) for index in range(len(views))]
    turns = np.exp(_log_softmax(np.mean(aligned, axis=0)))
    odds = seen.inverted[:TURNS].mean() - seen.inverted[TURNS:].mean()
    turn = int(turns.argmax())
    return Look(
        kinds={kind: float(one) for kind, one in zip(KINDS, kinds, strict=True)},
        mending=Mending(turns=turn, is_inverted=bool(odds > 0)),
        upright=float(turns[turn]),
    )


def _log_softmax(odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logarithms of probabilities along the last axis.

    By NumPy: PyTorch would wake its threads, and two cores then wait 2 ms for a dozen numbers.
    """
    return np.asarray(odds - np.logaddexp.reduce(odds, axis=-1, keepdims=True), dtype=np.float32)


class TrainedGate:
    """The gate's network with its bounds, on the processor: it is small."""

    def __init__(self, entry: Gate, network: GateNetwork, *, compiled: Sees | None = None) -> None:
        """``compiled``: the same network in another engine; None: PyTorch runs it."""
        self.entry = entry
        self.network = network
        self._sees = network if compiled is None else compiled

    def look(self, view: NDArray[np.float32]) -> Look:
        """Return what a view, made by ``gate_view``, shows and how it has to be mended."""
        return look(self._sees, view)
