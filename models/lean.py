"""Load the libraries that networks are asked with, without what asking needs nothing of."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Final

_COMPILER: Final = "torch._dynamo"
#: where timm would fetch weights that have no file here; optional there
_HUB: Final = "huggingface_hub"
#: of these timm wants one small module each, and not what the package loads of its own
_DATA: Final = "timm.data"
_PACKAGES: Final = ("torchvision", "torchvision.ops", _DATA)
#: timm's way of cutting networks by their graphs, which we do not go; optional there
_GRAPHS: Final = "torchvision.models"
#: converts models of other programs; optional in OpenVINO
_CONVERTERS: Final = "openvino.tools"


def load_timm_without_compiler() -> None:
    """Load PyTorch and timm; does nothing if timm, or the compiler of PyTorch, is loaded.

    At its import timm asks the compiler for what keeps one method of one network from being
    compiled. For this, all of it is loaded, with sympy and what several GPUs need; here the method
    is let be. Of torchvision timm wants the class of a frozen norm, and of what feeds a training
    the means of some pictures: here they come without data sets, transforms and networks. The
    client of a hub is as if it were not installed, since the weights that we load are files.
    Together these were 1.1 of the 1.3 seconds of a processor that timm took.

    Whoever imports one of them later gets it as ever. Versions that want more of them at their
    import are left to their own.
    """
    if "timm" in sys.modules or _COMPILER in sys.modules:
        return
    with _sources_unread():
        import_module("torch")
    others = {name: None for name in (_HUB, _GRAPHS) if name not in sys.modules}
    try:
        with _standing_in({**_compiler(), **_bare_packages(), **others}):
            import_module("timm")
    except (ImportError, AttributeError, TypeError):
        return


def load_torchvision_without_compiler() -> None:
    """Load torchvision; does nothing if it, or the compiler of PyTorch, is loaded.

    At its import it asks the compiler for what tells whether boxes can be pooled by compiled code;
    here it asks when it is called. For the rest as ``load_timm_without_compiler``.
    """
    if "torchvision" in sys.modules or _COMPILER in sys.modules:
        return
    try:
        with _standing_in(_compiler()):
            import_module("torchvision")
    except (ImportError, AttributeError, TypeError):
        return


def load_openvino_without_converters() -> None:
    """Load OpenVINO; does nothing if it is loaded.

    Raises:
        ImportError: it is not installed.
    """
    if "openvino" not in sys.modules:
        with _standing_in({_CONVERTERS: None}):
            import_module("openvino")


@contextmanager
def _sources_unread() -> Iterator[None]:
    """Let who asks where a call came from be told the line, without the text that stands there.

    PyTorch asks so for each of 120 functions at its import, and takes no more than file and line.
    For the text Python asked every loaded module for its file: a tenth of the import.
    """
    module: Any = inspect
    plain = inspect.getframeinfo
    module.getframeinfo = partial(plain, context=0)
    try:
        yield
    finally:
        module.getframeinfo = plain


@contextmanager
def _standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Let an import find these; None cannot be imported. They go, and what lies beneath them."""
    known: dict[str, Any] = sys.modules
    known.update(modules)
    try:
        yield
    finally:
        beneath = tuple(f"{name}." for name in modules)
        for name in [one for one in known if one in modules or one.startswith(beneath)]:
            del known[name]


def _compiler() -> dict[str, ModuleType]:
    package: Any = ModuleType(_COMPILER)
    package.__path__, package.disable = [], _unchanged
    utilities: Any = ModuleType(f"{_COMPILER}.utils")
    utilities.is_compile_supported = _is_compile_supported
    return {one.__name__: one for one in (package, utilities)}


def _bare_packages() -> dict[str, ModuleType]:
    """Return packages whose modules can be imported, but which load nothing of their own."""
    bare: dict[str, ModuleType] = {}
    for name in _PACKAGES:
        if name not in sys.modules:
            package: Any = ModuleType(name)
            package.__path__ = _folders_of(name)
            bare[name] = package
    if _DATA in bare:
        bare[_DATA].__getattr__ = _constant  # type: ignore[method-assign]
    return bare


def _folders_of(package: str) -> list[str]:
    """Return where the modules of a package lie; it is not loaded for that.

    Raises:
        ImportError: it is not installed.
    """
    above, _, _ = package.rpartition(".")
    place = PathFinder.find_spec(package, _folders_of(above) if above else None)
    if place is None or place.submodule_search_locations is None:
        raise ModuleNotFoundError(name=package)
    return list(place.submodule_search_locations)


def _constant(name: str) -> object:
    return getattr(import_module(f"{_DATA}.constants"), name)


def _unchanged(function: Callable[..., Any], *_how: object, **_why: object) -> Callable[..., Any]:
    return function


def _is_compile_supported(device_type: object) -> bool:
    utilities: Any = import_module(f"{_COMPILER}.utils")
    return bool(utilities.is_compile_supported(device_type))
