"""Small, valid things for the tests of models/: hands of a few lines, untrained networks."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from models.gate.judge import judge_contents, judge_form
from models.gate.trained import TrainedGate
from models.networks import BoneAgeNetwork, build_network
from models.phantom import digest_of_pixels, draw_phantom
from models.release.manifest import digest_of_file
from models.release.write import write_manifest
from models.transforms import DEFAULT_RULE
from schemas.estimates import GateVerdict
from schemas.images import Sex
from schemas.releases import Calibration, IntervalGroup, Manifest, Member, Phantom

PHANTOM_AGE = 120.0


def drawn_hand(rows: int = 240, columns: int = 200) -> NDArray[np.float32]:
    """A bright palm with five bright bars on dark air; noise, so that no line is flat."""
    random = np.random.default_rng(3)
    image = random.uniform(0, 4, size=(rows, columns))
    image[rows // 2 : rows * 9 // 10, columns // 4 : columns * 3 // 4] += 120
    for finger in range(5):
        left = columns // 4 + finger * columns // 10
        image[rows // 8 : rows // 2, left : left + columns // 20] += 150
    return image.astype(np.float32)


def small_network(seed: int = 0) -> BoneAgeNetwork:
    """An untrained network that is quick on any machine, in evaluation mode."""
    torch.manual_seed(seed)
    network = build_network("resnet10t", age_mean_months=120.0, age_sd_months=40.0)
    return network.eval()


def judged(pixels: NDArray[np.float32], *, gate: TrainedGate | None = None) -> GateVerdict:
    """What the gate says, by the rule that recipes train with."""
    return judge_form(pixels) or judge_contents(pixels, rule=DEFAULT_RULE, gate=gate)


def written_release(folder: Path, **overrides: object) -> Path:
    """A complete release of two untrained networks; ``overrides`` change its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for seed in (0, 1):
        file = f"member{seed}.safetensors"
        save_file(small_network(seed).state_dict(), folder / file)
        members.append(
            Member(
                name=f"member{seed}",
                file=file,
                sha256=digest_of_file(folder / file),
                architecture="resnet10t",
                input_size=64,
                age_mean_months=120.0,
                age_sd_months=40.0,
                recipe="none",
                validation_mae_months=0.0,
            )
        )
    phantom = draw_phantom(age_months=PHANTOM_AGE, sex=Sex.FEMALE)
    manifest = Manifest(
        format_version=1,
        name="untrained",
        version="1",
        licence="none",
        intended_use="tests",
        training_data="none",
        training_data_sha256="",
        split_sha256="",
        youngest_months=6,
        oldest_months=228,
        preprocessing=DEFAULT_RULE,
        members=tuple(members),
        calibration=Calibration(
            coverage=0.9,
            groups=(
                IntervalGroup(sex="F", half_width_months=15.0, n=100),
                IntervalGroup(sex="M", half_width_months=20.0, n=100),
            ),
        ),
        phantom=Phantom(
            age_months=PHANTOM_AGE,
            sex="F",
            digest=digest_of_pixels(phantom),
            known_value_months=120,
            tolerance_months=0.1,
        ),
        metrics=(),
    )
    write_manifest(folder, manifest.model_copy(update=overrides))
    return folder
