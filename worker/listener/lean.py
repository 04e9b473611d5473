"""Keep out of the listener what it never uses: it moves bytes, and decodes no pixels."""

import sys
from typing import Any, Final, cast

#: What pydicom 3.0 loads at its own import wherever it is installed: forty megabytes and a third of
#: a second. All of it is optional there.
_FOR_PIXELS: Final = (
    *("numpy", "PIL", "gdcm", "jpeg_ls", "pylibjpeg", "libjpeg", "openjpeg", "rle"),
    *("requests", "tqdm"),  # for test files of its own that it would fetch
)


def load_pydicom_without_pixels() -> None:
    """Load pydicom as if nothing were installed that decodes; does nothing if it is loaded.

    Other imports of these libraries, later, work as ever.
    """
    if "pydicom" in sys.modules:
        return
    modules = cast("dict[str, Any]", sys.modules)
    hidden = [name for name in _FOR_PIXELS if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None: it cannot be imported
    try:
        import pydicom  # noqa: F401, PLC0415 - now, and not before
    finally:
        for name in hidden:
            del modules[name]
