"""What an accelerator says when it fails, as the errors that the worker knows."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from schemas.errors import DeviceError

#: how PyTorch's messages begin, or go on, when a driver or a library of the device failed; the
#: class is ``RuntimeError`` for all of them before PyTorch 2.8
_FAULTS = ("CUDA error", "cuDNN error", "HIP error")


@contextmanager
def device_faults() -> Iterator[None]:
    """Give the failures of a device their families; everything else flies past.

    Raises:
        DeviceError: the device is in doubt; nothing that it says from now on can be trusted.
        MemoryError: it has no memory left for this; less at a time, or later, may do.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise MemoryError("the device has no memory left") from error
    except RuntimeError as error:
        fault = str(error).partition("\n")[0]
        if not any(word in fault for word in _FAULTS):
            raise
        raise DeviceError(fault=fault) from error
