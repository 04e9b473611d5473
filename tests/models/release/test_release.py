from pathlib import Path

import pytest

from models.release.errors import (
    ChecksumError,
    FormatVersionError,
    ManifestError,
    MissingFileError,
    NoSuchReleaseError,
    WeightsError,
)
from models.release.load import load_release
from models.release.manifest import (
    digest_of_file,
    list_releases,
    read_manifest,
    verify_release,
)
from models.release.write import Measured, format_manifest, rewrite_metrics
from schemas.releases import GateRow, MetricRow
from tests.models.builders import written_release


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written_release(tmp_path / "untrained")


def test_a_whole_release_is_verified(folder: Path) -> None:
    identity = verify_release(folder)

    assert identity.name == "untrained"
    assert identity.digest == digest_of_file(folder / "release.toml")


def test_a_release_is_found_by_its_name(folder: Path) -> None:
    assert list_releases(folder.parent) == ["untrained"]
    assert verify_release("untrained", releases=folder.parent).version == "1"


def test_a_changed_weight_file_is_never_loaded(folder: Path) -> None:
    with (folder / "member1.safetensors").open("ab") as file:
        file.write(b"\0")

    with pytest.raises(ChecksumError, match=r"member1\.safetensors"):
        load_release(folder)


def test_a_missing_weight_file_is_named(folder: Path) -> None:
    (folder / "member0.safetensors").unlink()

    with pytest.raises(MissingFileError, match=r"member0\.safetensors"):
        load_release(folder)


def test_a_changed_card_is_noticed(folder: Path) -> None:
    rewrite_metrics(folder, Measured(metrics=[]))
    card = folder / "card.md"
    card.write_text(card.read_text(encoding="utf-8") + "better\n", encoding="utf-8")

    with pytest.raises(ChecksumError, match=r"card\.md"):
        verify_release(folder)


def test_a_release_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSuchReleaseError, match="release list"):
        load_release("nowhere", releases=tmp_path)


def test_another_format_version_is_refused(folder: Path) -> None:
    manifest = folder / "release.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("format_version = 1", "format_version = 9"), encoding="utf-8")

    with pytest.raises(FormatVersionError, match="version 9"):
        load_release(folder)


def test_an_unknown_key_is_an_error_that_names_it(folder: Path) -> None:
    manifest = folder / "release.toml"
    manifest.write_text("surprise = 1\n" + manifest.read_text(encoding="utf-8"), encoding="utf-8")

    with pytest.raises(ManifestError, match="surprise"):
        load_release(folder)


def test_a_manifest_that_is_no_toml_is_refused(folder: Path) -> None:
    (folder / "release.toml").write_text("weights!", encoding="utf-8")

    with pytest.raises(ManifestError):
        load_release(folder)


def test_a_listed_file_cannot_lie_outside_the_folder(tmp_path: Path) -> None:
    folder = written_release(tmp_path / "sly", files={"../secret": "0" * 64})

    with pytest.raises(ManifestError, match="secret"):
        load_release(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    manifest = folder / "release.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"resnet10t"', '"efficientnet_lite0"'), encoding="utf-8")

    with pytest.raises(WeightsError, match="efficientnet_lite0"):
        load_release(folder)


def test_a_written_manifest_reads_back_equal(folder: Path) -> None:
    manifest, _identity = read_manifest(folder)
    (folder / "release.toml").write_text(format_manifest(manifest), encoding="utf-8")

    assert read_manifest(folder)[0] == manifest


def test_new_metrics_stand_in_manifest_and_card(folder: Path) -> None:
    row = MetricRow(
        group="all",
        n=12,
        mae_months=7.77,
        mae_low=7.1,
        mae_high=8.4,
        rmse_months=9.9,
        within_6=0.5,
        within_12=0.8,
        within_24=0.97,
        coverage=0.91,
    )
    before = verify_release(folder).digest

    gate = GateRow(pictures="knees", n=12, refused=3, recognised=2)

    rewrite_metrics(folder, Measured(metrics=[row], gate=[gate]))

    manifest, identity = read_manifest(folder)
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert manifest.metrics == (row,)
    assert "| all | 12 | 7.77 (7.10-8.40) |" in card
    assert "| knees | 12 | 3 (25.0%) | 2 (16.7%) |" in card
    assert verify_release(folder) == identity
    assert identity.digest != before
