"""Which engine runs the members of a release: chosen at load, and held to PyTorch's answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.engines.openvino import (
    OpenVinoGate,
    OpenVinoMember,
    is_installed,
    way_back_precision,
)
from models.engines.tape import UncoveredError
from models.ensemble import Ensemble
from models.gate.trained import VIEWS, Look, TrainedGate
from models.gate.view import gate_view
from models.phantom import draw_phantom
from models.release.load import LoadedMember
from models.transforms import squash
from schemas.config import Engine
from schemas.errors import UsageError
from schemas.estimates import HandImage, Reading
from schemas.images import Sex
from schemas.releases import Averaging

#: how far another engine's months, and the months of any field of its heatmap, may be from
#: PyTorch's on the phantom; 0.00003 was measured for OpenVINO in float32
SAME_ANSWER_MONTHS = 0.05
#: how far the probabilities of another engine's gate may be from PyTorch's on the phantom; 2e-7
#: was measured for OpenVINO in float32
SAME_SIGHT = 1e-3
#: how many views of an image a member is given at a time
_VIEWS = {Averaging.NONE: 1, Averaging.MIRROR: 2, Averaging.FIVE_CROPS: 5}


class EngineUnavailableError(UsageError):
    """The settings name an engine that cannot run this release here."""

    code = "engine.unavailable"

    def __init__(self, *, engine: str, reason: str) -> None:
        super().__init__(
            f"The engine {engine} cannot run this release here: {reason}. "
            'Set [inference] engine = "auto" or "torch", or install it: pip install '
            "'boneage-worker[fast]'."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which engine runs the members, and why."""

    engine: Engine  #: never ``AUTO``
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a release says to the phantom on one engine."""

    months: NDArray[np.float64]  #: of members, read as both sexes, and of the heatmap's fields
    look: Look | None  #: of its gate, if it has one


def choose_engine(
    ensemble: Ensemble, wanted: Engine, *, threads: int
) -> tuple[Ensemble, EngineChoice]:
    """Return the estimator on the engine that is wanted and can run it.

    Args:
        ensemble: the release in PyTorch.
        wanted: ``AUTO`` takes OpenVINO where it is installed, the networks are on the processor, it
            covers them and it gives the same answer to the phantom; PyTorch otherwise.
        threads: of the processor.

    Raises:
        EngineUnavailableError: an engine was asked for by name, and cannot run this release.
    """
    if wanted is Engine.TORCH:
        return ensemble, EngineChoice(engine=Engine.TORCH, reason="the settings ask for it")
    reason = _obstacle(ensemble)
    if not reason:
        try:
            compiled, answers = _tried(ensemble, threads=threads)
        except (UncoveredError, ImportError, RuntimeError) as error:
            reason = f"it does not cover these networks ({type(error).__name__}: {error})"
        else:
            apart = _greatest_difference(*answers)
            if not _has_same_sight(*answers):
                reason = "its gate sees something else in the phantom than PyTorch"
            elif not apart <= SAME_ANSWER_MONTHS:  # nor where it is no number
                reason = f"it is {apart:.2f} months from PyTorch on the phantom"
            else:
                same = f"{apart:.1g} months from PyTorch on the phantom"
                return compiled, EngineChoice(engine=Engine.OPENVINO, reason=same)
    if wanted is Engine.OPENVINO:
        raise EngineUnavailableError(engine=wanted.value, reason=reason)
    return ensemble, EngineChoice(engine=Engine.TORCH, reason=f"of openvino: {reason}")


def _greatest_difference(mine: _Answer, theirs: _Answer) -> float:
    """Return the greatest difference, months: of members and fields, both sexes."""
    return float(np.abs(mine.months - theirs.months).max())


def _has_same_sight(mine: _Answer, theirs: _Answer) -> bool:
    """Say whether two gates of one release see the same."""
    if mine.look is None or theirs.look is None:
        return mine.look is theirs.look
    kinds, others = mine.look.kinds, theirs.look.kinds
    is_near = all(abs(kinds[kind] - others[kind]) <= SAME_SIGHT for kind in kinds)
    return is_near and mine.look.mending == theirs.look.mending


def _tried(ensemble: Ensemble, *, threads: int) -> tuple[Ensemble, tuple[_Answer, _Answer]]:
    """Return the release on OpenVINO, and the answers of PyTorch and of OpenVINO to the phantom.

    PyTorch is asked while OpenVINO compiles: neither keeps all cores at work.

    Raises:
        UncoveredError, ImportError, RuntimeError: OpenVINO cannot run this release.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="compile") as pool:
        members = _compile_all(ensemble, pool, threads=threads)
        phantom = _phantom_of(ensemble)
        expected = _answer(ensemble, phantom)
        compiled = ensemble.compiled_by(tuple(members), gate=_compile_gate(ensemble))
    return compiled, (expected, _answer(compiled, phantom))


def _answer(ensemble: Ensemble, phantom: NDArray[np.float32]) -> _Answer:
    (reading,) = ensemble.read([HandImage(pixels=phantom, sexes=tuple(Sex))])
    return _Answer(months=_numbers(reading), look=_look(ensemble, phantom))


def _look(ensemble: Ensemble, phantom: NDArray[np.float32]) -> Look | None:
    if ensemble.gate is None:
        return None
    rule = ensemble.manifest.preprocessing
    image = squash(phantom, size=rule.working_size)
    return ensemble.gate.look(gate_view(image, size=ensemble.gate.entry.input_size, rule=rule))


def _phantom_of(ensemble: Ensemble) -> NDArray[np.float32]:
    pinned = ensemble.manifest.phantom
    return draw_phantom(age_months=pinned.age_months, sex=Sex(pinned.sex)).astype(np.float32)


def _numbers(reading: Reading) -> NDArray[np.float64]:
    said = [member.age_months for one in reading.estimates for member in one.members]
    return np.array([*said, *reading.heatmap.months.ravel()], dtype=np.float64)


def _obstacle(ensemble: Ensemble) -> str:
    """Say what stands in the way of OpenVINO before anything is tried; empty: nothing."""
    if ensemble.device.type != "cpu":
        return f"the networks are on {ensemble.device}"
    return "" if is_installed() else "it is not installed"


def _compile_gate(ensemble: Ensemble) -> TrainedGate | None:
    """Compile the gate for one thread: beside it, the image is prepared for the members."""
    gate = ensemble.gate
    if gate is None:
        return None
    compiled = OpenVinoGate(gate.network, size=gate.entry.input_size, views=VIEWS, threads=1)
    return TrainedGate(gate.entry, gate.network, compiled=compiled)


def _compile_all(
    ensemble: Ensemble, pool: ThreadPoolExecutor, *, threads: int
) -> Iterator[OpenVinoMember]:
    """Begin to compile the members, and return them as they become ready."""

    def compiled(member: LoadedMember, empty: Tensor | None) -> OpenVinoMember:
        if empty is None:
            raise UncoveredError("a member with a preprocessing of its own")
        return OpenVinoMember(
            member.network,
            empty=empty,
            size=member.entry.input_size,
            views=_VIEWS[member.entry.averaging],
            threads=threads,
            way_back=way_back,
        )

    way_back = way_back_precision()
    return pool.map(compiled, ensemble.members, ensemble.empty_maps)
