"""Read a release: the manifest first, then every checksum, and only then the weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.networks import BoneAgeNetwork
from models.networks.registry import build_member
from models.release.errors import WeightsError
from models.release.manifest import RELEASES, find_release, read_manifest, verify_files
from schemas.estimates import ReleaseIdentity
from schemas.releases import Manifest, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMember:
    """One network with its entry in the manifest; in evaluation mode."""

    entry: Member
    network: BoneAgeNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRelease:
    """A release that was verified and can be asked."""

    folder: Path
    manifest: Manifest
    identity: ReleaseIdentity
    members: tuple[LoadedMember, ...]
    device: torch.device


def _load_member(folder: Path, entry: Member, device: torch.device) -> LoadedMember:
    network = build_member(entry)
    try:
        tensors = load_file(folder / entry.file)
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (RuntimeError, SafetensorError) as error:
        raise WeightsError(file=entry.file, architecture=entry.architecture) from error
    ready = network.eval().requires_grad_(requires_grad=False)
    placed = ready.to(device).to(memory_format=torch.channels_last)
    return LoadedMember(entry=entry, network=placed)


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
        folder=folder, manifest=manifest, identity=identity, members=members, device=place
    )
