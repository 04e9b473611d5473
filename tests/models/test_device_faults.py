import pytest
import torch

from models.device_faults import device_faults
from schemas.errors import DeviceError


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`",
    ],
)
def test_a_device_that_failed_is_in_doubt(text: str) -> None:
    with pytest.raises(DeviceError) as raised, device_faults():
        raise RuntimeError(text)

    assert text.partition("\n")[0] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_device_without_memory_is_not_in_doubt() -> None:
    with pytest.raises(MemoryError), device_faults():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), device_faults():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
