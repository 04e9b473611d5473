import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.gate.network import GateNetwork
from models.networks import AgeNetwork
from models.networks.registry import build_member
from models.release import load
from models.release.manifest import list_releases
from schemas.releases import Member
from tests.models.builders import written_release

OTHER_WHOLE_NUMBER = 77


def poisoned(network: nn.Module) -> nn.Module:
    """The network, with nothing left of what it was made with."""
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(math.nan if tensor.is_floating_point() else OTHER_WHOLE_NUMBER)
    return network


def require_only_the_file(network: nn.Module, file: Path) -> None:
    kept = load_file(file)
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert held.keys() == kept.keys()
    for name, tensor in held.items():
        assert torch.equal(tensor, kept[name].to(tensor.dtype)), name


@pytest.mark.parametrize("release", ["untrained", *list_releases()])
def test_every_number_of_a_network_comes_from_its_file(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(entry: Member) -> AgeNetwork:
        network = build_member(entry)
        poisoned(network)
        return network

    monkeypatch.setattr(load, "build_member", build)
    monkeypatch.setattr(load, "GateNetwork", lambda *, width: poisoned(GateNetwork(width=width)))

    folder = written_release(tmp_path / release) if release == "untrained" else release
    loaded = load.load_release(folder)

    for member in loaded.members:
        require_only_the_file(member.network, loaded.folder / member.entry.file)
    if loaded.gate is not None:
        require_only_the_file(loaded.gate.network, loaded.folder / loaded.gate.entry.file)
