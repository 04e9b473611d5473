"""Which device the networks run on."""

import torch

from schemas.errors import UsageError

#: so that some are decoded and drawn while others are in the networks; not measured on a GPU
IMAGES_AT_ONCE_ON_A_GPU = 8


class NoSuchDeviceError(UsageError):
    """The settings name a device that this machine does not have."""

    code = "device.unknown"

    def __init__(self, *, device: str, known: str) -> None:
        super().__init__(
            f"There is no device {device!r} here; known: {known}. "
            'Correct [inference] devices in config.toml, or use "auto".'
        )


def choose_device(name: str, *, threads: int) -> str:
    """Return the torch device that ``name`` means here, and let torch use so many CPU threads.

    Args:
        name: "auto" for the first GPU, else the CPU; "cpu"; "cuda:0" …
        threads: 0 leaves torch its own choice.

    Raises:
        NoSuchDeviceError: it is not there; never replaced by another in silence.
    """
    if threads:
        torch.set_num_threads(threads)
    known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return known[1] if len(known) > 1 else known[0]
    device = "cuda:0" if name == "cuda" else name
    if device not in known:
        raise NoSuchDeviceError(device=name, known=", ".join(known))
    return device


def processor_threads() -> int:
    """Return how many threads of the processor the networks may use."""
    return torch.get_num_threads()
