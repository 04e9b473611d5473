"""Read a release: the manifest first, then every checksum, and only then the weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.gate.network import GateNetwork
from models.gate.trained import TrainedGate
from models.networks import AgeNetwork
from models.networks.fast_surfer_mask import FastSurferMask
from models.networks.registry import build_member
from models.release.errors import WeightsError
from models.release.manifest import RELEASES, find_release, read_manifest, verify_files
from schemas.estimates import ReleaseIdentity
from schemas.releases import Gate, Manifest, MaskNetwork, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMember:
    """One network with its entry in the manifest; in evaluation mode."""

    entry: Member
    network: AgeNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRelease:
    """A release that was verified and can be asked."""

    folder: Path
    manifest: Manifest
    identity: ReleaseIdentity
    members: tuple[LoadedMember, ...]
    device: torch.device
    mask: FastSurferMask | None = None  #: finds the hand for the members that want it alone
    gate: TrainedGate | None = None  #: says whether an image may be read


def _fill(network: nn.Module, path: Path, *, architecture: str, device: torch.device) -> None:
    """Put the weights of a file into a network, and make it ready to be asked."""
    try:
        tensors = load_file(path)
        network.load_state_dict(
            {
                name: value.float() if value.is_floating_point() else value
                for name, value in tensors.items()
            }
        )
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(path=path, architecture=architecture) from error
    network.eval().requires_grad_(requires_grad=False)
    network.to(device).to(memory_format=torch.channels_last)


def _load_member(folder: Path, entry: Member, device: torch.device) -> LoadedMember:
    network = build_member(entry)
    _fill(network, folder / entry.file, architecture=entry.architecture, device=device)
    return LoadedMember(entry=entry, network=network)


def _load_mask(folder: Path, entry: MaskNetwork, device: torch.device) -> FastSurferMask:
    network = FastSurferMask(filters=entry.filters, kernel_size=entry.kernel_size)
    _fill(network, folder / entry.file, architecture="the mask network", device=device)
    return network


def _load_gate(folder: Path, entry: Gate) -> TrainedGate:
    network = GateNetwork(width=entry.width)
    cpu = torch.device("cpu")  # smaller than the way to another device
    _fill(network, folder / entry.file, architecture="the gate", device=cpu)
    return TrainedGate(entry, network)


def load_release(
    release: str | Path, *, device: str = "cpu", releases: Path = RELEASES
) -> LoadedRelease:
    """Verify a release and load its networks.

    Args:
        release: its name in ``releases``, or the path of its folder.
        device: torch device the networks go to.
        releases: folder that names are looked up in.

    Raises:
        PermanentError: one of the classes in ``models.release.errors`` says what is wrong.
    """
    folder = find_release(release, releases=releases)
    manifest, identity = read_manifest(folder)
    verify_files(folder, manifest)
    place = torch.device(device)
    members = tuple(_load_member(folder, entry, place) for entry in manifest.members)
    return LoadedRelease(
        folder=folder,
        manifest=manifest,
        identity=identity,
        members=members,
        device=place,
        mask=_load_mask(folder, manifest.mask, place) if manifest.mask else None,
        gate=_load_gate(folder, manifest.gate) if manifest.gate else None,
    )
