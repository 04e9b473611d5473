"""Read a checkpoint without running what is in it.

A checkpoint of PyTorch is a pickle, and a pickle is a program. Here it may build tensors, numbers,
texts and containers of them, and nothing else. Classes of Lightning, which its checkpoints hold
beside the weights, are never imported: an empty stand-in takes their place. Any other class ends
the import by its name.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.release.importing.errors import (
    DamagedCheckpointError,
    ForeignClassError,
    MissingCheckpointError,
)

#: everything that a pickle may call, by module and name
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,  # noqa: SLF001
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # noqa: SLF001
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,  # noqa: SLF001
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("numpy", "dtype"): np.dtype,
    ("builtins", "set"): set,
    ("builtins", "dict"): dict,
    ("builtins", "complex"): complex,
}
_NUMPY_SCALAR = ("numpy.core.multiarray", "numpy._core.multiarray")
#: of these packages nothing is loaded; a stand-in without content takes the place of their classes
_STOOD_IN_FOR = ("pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics")
_PLAIN = (bool, int, float, str)


class _StandIn(dict[Any, Any]):
    """In place of a class that is not loaded; keeps items, as Lightning's AttributeDict has."""

    def __init__(self, *_values: object, **_more: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Take no notice of what the object held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a file held: tensors, and beside them nothing but plain values."""

    path: Path
    tensors: dict[str, Tensor]
    hyper_parameters: dict[str, Any]  #: numbers, texts, and lists of them
    values: dict[str, float]  #: the numbers beside the state dict


def _numpy_scalar(dtype: np.dtype[Any], content: bytes) -> float:
    """Return a NumPy scalar as a number; only the kinds that a number can have."""
    if dtype.kind not in "fiub":
        raise pickle.UnpicklingError(f"a NumPy scalar of {dtype}")
    return float(np.frombuffer(content, dtype=dtype)[0])


def _encoded(text: str, encoding: str) -> bytes:
    """Return the bytes that old pickles hold as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


def _restricted(path: Path) -> SimpleNamespace:
    """Return what ``torch.load`` takes for the module ``pickle``."""

    class Restricted(pickle.Unpickler):
        """Finds what is allowed, and refuses the rest by its name."""

        def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base
            found = _find(module, name)
            if found is None:
                raise ForeignClassError(path=path, name=f"{module}.{name}")
            return found

    def load(stream: IO[bytes], **options: Any) -> Any:  # noqa: ANN401 - as in pickle
        return Restricted(stream, **options).load()

    return SimpleNamespace(
        __name__="pickle", Unpickler=Restricted, load=load, UnpicklingError=pickle.UnpicklingError
    )


def _find(module: str, name: str) -> object | None:
    if module.split(".", maxsplit=1)[0] in _STOOD_IN_FOR:
        return _StandIn
    if module in _NUMPY_SCALAR and name == "scalar":
        return _numpy_scalar
    if (module, name) == ("_codecs", "encode"):
        return _encoded
    if module == "torch":
        found = getattr(torch, name, None)
        if isinstance(found, torch.dtype) or name.endswith("Storage"):
            return found
    return _ALLOWED.get((module, name))


def _unpickle(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return torch.load(
            path, map_location="cpu", pickle_module=_restricted(path), weights_only=False
        )
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, RuntimeError),
        *(KeyError, IndexError, ValueError, TypeError, AttributeError, UnicodeDecodeError),
    ) as error:
        first_line = str(error).strip().split("\n")[0][:120]
        raise DamagedCheckpointError(
            path=path, problem=first_line or type(error).__name__
        ) from error


def _plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(one) for one in value)
    return value is None or isinstance(value, _PLAIN)


def _state_of(content: object) -> object:
    """Return the state dict, wherever this project keeps it."""
    if not isinstance(content, dict):
        return None
    for key in ("state_dict", "model_state_dict"):
        if key in content:
            return content[key]
    return content


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise DamagedCheckpointError(path=path, problem=str(error)) from error
    return Checkpoint(path=path, tensors=tensors, hyper_parameters={}, values={})


def _number(value: object) -> float | None:
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the tensors and plain values of a checkpoint.

    Raises:
        MissingCheckpointError: there is no such file.
        ForeignClassError: it asks for a class that is no tensor and no plain value.
        DamagedCheckpointError: it is no checkpoint, or not the whole of one.
    """
    if not path.is_file():
        raise MissingCheckpointError(path=path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = _unpickle(path)
    state = _state_of(content)
    if not isinstance(state, dict):
        raise DamagedCheckpointError(path=path, problem="it holds no dictionary of tensors")
    beside = {} if state is content else content
    numbers = {name: _number(value) for name, value in beside.items() if isinstance(name, str)}
    held = beside.get("hyper_parameters")
    return Checkpoint(
        path=path,
        tensors={
            str(name): value.detach() for name, value in state.items() if isinstance(value, Tensor)
        },
        hyper_parameters={
            str(name): value
            for name, value in (held if isinstance(held, dict) else {}).items()
            if _plain(value)
        },
        values={name: value for name, value in numbers.items() if value is not None},
    )
