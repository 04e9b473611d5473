"""What must not be imported: one message that names the file and the mend, and nothing written."""

import collections
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models.release.importing.build import NewRelease, import_release
from models.release.importing.converted import ImportOptions
from models.release.importing.errors import (
    BadOptionError,
    DamagedCheckpointError,
    ForeignClassError,
    MissingCheckpointError,
    MissingTensorsError,
    NoAgeInsideError,
    ReleaseExistsError,
    UnknownLayoutError,
)
from models.release.importing.unpickle import read_checkpoint
from schemas.errors import PermanentError
from tests.models.release import foreign_checkpoints as theirs

SMALL = {"base._conv_head.weight": torch.zeros(1280, 320, 1, 1), "fc_boneage.bias": torch.zeros(1)}


class _Sly:
    """Runs a command when it is unpickled, as a pickle may."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._mark}",)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def refused(path: Path, error: type[PermanentError], *, match: str, name: str = "theirs") -> None:
    into = path.parent / "releases"
    with pytest.raises(error, match=match):
        import_release([path], new=NewRelease(name=name), options=ImportOptions(), into=into)
    assert not into.exists() or not list(into.iterdir())


def test_a_class_that_runs_code_is_named_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = saved(tmp_path / "sly.ckpt", {"state_dict": SMALL, "hyper_parameters": _Sly(mark)})

    refused(path, ForeignClassError, match=r"sly\.ckpt.*(posix|os)\.system")

    assert not mark.exists()


@pytest.mark.parametrize("kind", [SimpleNamespace, collections.Counter])
def test_a_class_that_is_no_plain_value_is_named(tmp_path: Path, kind: type) -> None:
    path = saved(tmp_path / "odd.ckpt", {"state_dict": SMALL, "hyper_parameters": kind()})

    refused(path, ForeignClassError, match=rf"odd\.ckpt.*{kind.__name__}")


def test_an_old_checkpoint_that_is_no_archive_is_refused_in_the_same_way(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "old.pt"
    content = {"state_dict": SMALL, "hyper_parameters": _Sly(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=False)

    refused(path, ForeignClassError, match=r"old\.pt.*system")

    assert not mark.exists()


@pytest.mark.parametrize("kept", [0, 10, 2000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "short.ckpt", {"state_dict": SMALL})
    path.write_bytes(path.read_bytes()[:kept])

    refused(path, DamagedCheckpointError, match=r"short\.ckpt.*again")


def test_safetensors_that_were_cut_off_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x40\0\0\0\0\0\0\0{")

    refused(path, DamagedCheckpointError, match=r"model\.safetensors")


def test_a_text_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "readme.ckpt"
    path.write_text("the weights are on request\n", encoding="utf-8")

    refused(path, DamagedCheckpointError, match=r"readme\.ckpt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.ckpt", MissingCheckpointError, match=r"none\.ckpt")


def test_an_unknown_layout_is_named_with_what_it_holds(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.pt", {"conv1.weight": torch.zeros(3, 3)})

    refused(path, UnknownLayoutError, match=r"other\.pt.*conv1\.weight")


def test_tensors_that_are_missing_are_named(tmp_path: Path) -> None:
    state = theirs.legacy_efficientnet("b0")
    del state["base._blocks.3._bn1.running_var"]
    path = saved(tmp_path / "holes.ckpt", {"state_dict": state})

    refused(path, MissingTensorsError, match=r"holes\.ckpt.*1 are missing.*blocks\.3\.bn1")


def test_an_efficientnet_of_no_known_size_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "small.ckpt", {"state_dict": SMALL})

    refused(path, MissingTensorsError, match=r"small\.ckpt.*no variant has 0 blocks")


def test_a_mask_network_alone_is_no_release(tmp_path: Path) -> None:
    path = saved(tmp_path / "fscnn_cos.ckpt", {"state_dict": theirs.mask_network()})

    refused(path, NoAgeInsideError, match=r"fscnn_cos\.ckpt.*mask network alone")


def test_a_network_for_the_sex_alone_is_refused(tmp_path: Path) -> None:
    content = {"state_dict": theirs.new_efficientnet("b0"), "hyper_parameters": {"age_sigma": 0}}
    path = saved(tmp_path / "sex_pred_model.ckpt", content)

    refused(path, NoAgeInsideError, match=r"sex_pred_model\.ckpt.*sex alone")


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "any.ckpt", {"state_dict": SMALL})

    refused(path, BadOptionError, match="cannot be the name", name="../elsewhere")


def test_a_release_of_that_name_is_never_overwritten(tmp_path: Path) -> None:
    path = saved(tmp_path / "any.ckpt", {"state_dict": SMALL})
    (tmp_path / "releases" / "theirs").mkdir(parents=True)

    with pytest.raises(ReleaseExistsError, match="theirs"):
        import_release(
            [path],
            new=NewRelease(name="theirs"),
            options=ImportOptions(),
            into=tmp_path / "releases",
        )


def test_a_bias_for_no_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "any.ckpt", {"state_dict": SMALL})

    with pytest.raises(BadOptionError, match=re.escape("--bias other")):
        import_release(
            [path],
            new=NewRelease(name="theirs"),
            options=ImportOptions(biases={"other": (0.1, -5.0)}),
            into=tmp_path,
        )


def test_lightning_classes_are_stood_in_for_and_never_imported(tmp_path: Path) -> None:
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    content = {
        "state_dict": SMALL,
        "callbacks": {callbacks.ModelCheckpoint: {"best": 1}},
        "hyper_parameters": {"backbone": "efficientnet-b0"},
        "slope": 0.04,
    }
    path = saved(tmp_path / "last.ckpt", content)

    checkpoint = read_checkpoint(path)

    assert checkpoint.hyper_parameters == {"backbone": "efficientnet-b0"}
    assert checkpoint.values == {"slope": 0.04}
    assert set(checkpoint.tensors) == set(SMALL)
