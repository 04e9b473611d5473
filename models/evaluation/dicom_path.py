"""What an evaluation needs to know of DICOM: how a file is read. ``worker`` says it, from above."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.training.archive import StoredImage


class DicomPath(Protocol):
    """Reads DICOM files by the function that serving reads them with."""

    def read_file(self, path: Path) -> NDArray[np.float32]:
        """Return the display values of a file, ``(rows, columns)``, bone bright, any range.

        Raises:
            UnsuitableImageError: serving would refuse it before anything looks at it.
        """
        ...

    def round_trip(self, pixels: StoredImage) -> NDArray[np.float32]:
        """Return the display values of the DICOM file that a picture makes.

        Args:
            pixels: ``(rows, columns)``, bone bright.
        """
        ...
