"""Load timm without PyTorch's compiler and the client of a hub, for who only asks networks."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final, cast

_COMPILER: Final = "torch._dynamo"
#: where timm would fetch weights that have no file here; optional there
_HUB: Final = "huggingface_hub"


def load_timm_without_compiler() -> None:
    """Load timm, and torchvision with it; does nothing if timm or the compiler is loaded.

    At their import both ask the compiler for one function each: torchvision for what tells whether
    boxes can be pooled by compiled code, timm for what keeps one method of one network from being
    compiled. For these, all of it is loaded, with sympy and what several GPUs need: 2.0 of the 2.8
    seconds of a processor that timm took. Here the one asks the compiler when it is called, and the
    other lets the method be. Whoever imports the compiler later gets it as ever. Versions that want
    more of it at their import are left to their own. The client of a hub takes another 0.14: for
    timm it is as if it were not installed, since the weights that we load are files.
    """
    if "timm" in sys.modules or _COMPILER in sys.modules:
        return
    package: Any = ModuleType(_COMPILER)
    package.__path__, package.disable = [], _unchanged
    utilities: Any = ModuleType(f"{_COMPILER}.utils")
    utilities.is_compile_supported = _is_compile_supported
    stand_ins: dict[str, Any] = {one.__name__: one for one in (package, utilities)}
    if _HUB not in sys.modules:
        stand_ins[_HUB] = None  # it cannot be imported
    sys.modules.update(stand_ins)
    try:
        import_module("timm")
    except (ImportError, AttributeError, TypeError):
        return
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _unchanged(function: Callable[..., Any], *_how: object, **_why: object) -> Callable[..., Any]:
    return function


def _is_compile_supported(device_type: object) -> bool:
    utilities = cast("Any", import_module(f"{_COMPILER}.utils"))
    return bool(utilities.is_compile_supported(device_type))
