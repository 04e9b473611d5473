"""Write a release: manifest, card, checksums. Figures come from the command, never from a hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from models.release.card import write_card
from models.release.import_card import write_import_card
from models.release.manifest import CARD_FILE, MANIFEST_FILE, digest_of_file, read_manifest
from schemas.releases import ChangeRow, GateRow, HeatmapMeasures, Manifest, MetricRow

_HEADER = (
    "What this release is made of. Written by `boneage train` and `boneage evaluate`; every\n"
    "change by hand changes the digest that stands in reports."
)


def format_manifest(manifest: Manifest) -> str:
    """Return release.toml as text; reading it back gives an equal manifest."""
    document = tomlkit.document()
    for line in _HEADER.splitlines():
        document.add(tomlkit.comment(line))
    values: dict[str, Any] = manifest.model_dump(mode="json", exclude_none=True)
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            tables = tomlkit.aot()
            for row in value:
                tables.append(tomlkit.item(row))
            document.add(key, tables)
        else:
            document.add(key, tomlkit.item(value))
    return tomlkit.dumps(document)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write release.toml into a folder, replacing the one that is there."""
    beside = folder / f"{MANIFEST_FILE}.part"
    beside.write_text(format_manifest(manifest), encoding="utf-8")
    beside.replace(folder / MANIFEST_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The tables of a release."""

    metrics: Sequence[MetricRow]
    gate: Sequence[GateRow] = ()
    changes: Sequence[ChangeRow] = ()
    heatmaps: HeatmapMeasures | None = None


def rewrite_metrics(folder: Path, found: Measured) -> Manifest:
    """Put new tables into manifest and card of a release, and return the manifest.

    Raises:
        PermanentError: the folder holds no valid manifest.
    """
    manifest, _identity = read_manifest(folder)
    measured = manifest.model_copy(
        update={
            "metrics": tuple(found.metrics),
            "gate_metrics": tuple(found.gate),
            "changes": tuple(found.changes),
            "heatmaps": found.heatmaps,
        }
    )
    if measured.decisions is None:
        write_card(folder / CARD_FILE, measured)
    else:
        write_import_card(folder / CARD_FILE, measured)
    files = {**manifest.files, CARD_FILE: digest_of_file(folder / CARD_FILE)}
    finished = measured.model_copy(update={"files": files})
    write_manifest(folder, finished)
    return finished
