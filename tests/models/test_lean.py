import subprocess
import sys

#: in a process of its own: this one may have loaded everything
_PROGRAM = """
import sys
from models.lean import load_timm_without_compiler

load_timm_without_compiler()
from models.engines.choice import choose_engine
from models.ensemble import load_estimator
from models.release.manifest import list_releases
from schemas.config import Engine
from schemas.estimates import HandImage
from schemas.images import Sex
from tests.models.builders import drawn_hand

plain = load_estimator(list_releases()[-1])
estimator, _ = choose_engine(plain, Engine.AUTO, threads=1)
estimator.read([HandImage(pixels=drawn_hand(300, 260), sexes=(Sex.MALE,))])
unwanted = ("torch._dynamo", "huggingface_hub", "torchvision", "timm.data", "openvino.tools")
print([name for name in unwanted if name in sys.modules])
"""
_EVERYTHING_LATER = """
from models.networks.deeplasia_inception import InceptionTrunk

trunk = InceptionTrunk()
print("torch._dynamo" in sys.modules, "torchvision" in sys.modules)

import huggingface_hub
import timm.data
import torch
import torchvision
from torchvision.ops import roi_align

print(timm.data.create_transform(32, is_training=False) is not None)
print(torchvision.ops.misc.FrozenBatchNorm2d(1).eps)
print(roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])], 2).sum().item())
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
print("torch._dynamo" in sys.modules)
"""


def told(program: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_an_image_is_read_without_what_is_there_when_it_is_wanted() -> None:
    words = told(_PROGRAM + _EVERYTHING_LATER)

    assert words == ["[]", "False", "True", "True", "1e-05", "4.0", "2.0", "True"]
