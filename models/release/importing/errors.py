"""Why a checkpoint was not imported; in every case nothing was written."""

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import PermanentError

_SHOWN = 4  #: names in a message; the rest is counted


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class ForeignClassError(PermanentError):
    """The checkpoint asks for code to be loaded that is no tensor and no plain value."""

    code = "import.foreign_class"

    def __init__(self, *, path: Path, name: str) -> None:
        super().__init__(
            f"{path} holds an object of {name}. Loading it would run code from the file, so it was "
            "not loaded and nothing was written. Ask its authors for the bare state_dict, or save "
            "it in the project that it comes from: torch.save(model.state_dict(), ...)."
        )


class DamagedCheckpointError(PermanentError):
    """The file is no checkpoint, or not the whole of one."""

    code = "import.damaged"

    def __init__(self, *, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} cannot be read as a checkpoint ({problem}). Nothing was written. "
            "Copy or download the file again, and compare its size and checksum."
        )


class MissingCheckpointError(PermanentError):
    """There is no such file."""

    code = "import.missing"

    def __init__(self, *, path: Path) -> None:
        super().__init__(f"There is no file {path}. Nothing was written. Correct the path.")


class UnknownLayoutError(PermanentError):
    """None of the layouts that are known has such names."""

    code = "import.unknown_layout"

    def __init__(self, *, path: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"{path} holds none of the layouts that can be imported (Deeplasia, its mask network, "
            f"boneAge_predict, ianpan/bone-age); its tensors are called {_some(names) or 'nothing'}"
            ". Nothing was written. Check that this is the right file; a network of "
            "your own is trained from a recipe (models/recipes)."
        )


class MissingTensorsError(PermanentError):
    """The layout is known, but the tensors are not those of its network."""

    code = "import.tensors"

    def __init__(self, *, path: Path, layout: str, problem: str) -> None:
        super().__init__(
            f"{path} looks like {layout}, but does not fit it: {problem}. Nothing was written. "
            "The file is incomplete, or from a version that is not known here; get the file "
            "again, or ask its authors which version it belongs to."
        )


class NoAgeInsideError(PermanentError):
    """The network was never trained to tell an age."""

    code = "import.no_age"

    def __init__(self, *, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot tell a bone age: {why}. Nothing was written. "
            "Import the checkpoint of a network for the age; a mask network goes beside one."
        )


class BiasUnitsError(PermanentError):
    """The correction fits both units, or neither."""

    code = "import.bias_units"

    def __init__(self, *, path: Path, slope: float, intercept: float) -> None:
        super().__init__(
            f"{path} brings a bias correction with slope {slope:g} and intercept {intercept:g}, "
            "and it cannot be told whether the intercept is a z-score or months. Nothing was "
            "written. Say which: --bias-units z or --bias-units months."
        )


class ReleaseExistsError(PermanentError):
    """There is a release of this name."""

    code = "import.exists"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"There is a release at {path} already. Nothing was written. Choose another --name, "
            "move that folder away, or build with --replace."
        )


class BadOptionError(PermanentError):
    """An option of the import cannot be used as it is."""

    code = "import.option"

    def __init__(self, *, option: str, problem: str, mend: str) -> None:
        super().__init__(f"{option} {problem}. Nothing was written. {mend}")
