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
print("torch._dynamo" in sys.modules, "huggingface_hub" in sys.modules)

import huggingface_hub
import torch
from torchvision.ops import roi_align

print(roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])], 2).sum().item())
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
print("torch._dynamo" in sys.modules)
"""


def test_an_image_is_read_without_the_compiler_which_is_there_when_it_is_wanted() -> None:
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM], check=True, capture_output=True, text=True
    )

    assert told.stdout.split() == ["False", "False", "4.0", "2.0", "True"]
