import ctypes
import subprocess
import sys

import pytest

#: writes 20 MB that were freed before, five times, and says how many pages had to be given again
_FAULTS = """
import resource, sys
import numpy as np
from worker.inference.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for turn in range(6):
    if turn == 1:
        before = faults()
    image = np.full((2500, 2000), turn, dtype=np.float32)
    page = np.full((1200, 1600, 3), turn, dtype=np.uint8)
    del image, page
print(faults() - before)
"""


def faults(word: str) -> int:
    said = subprocess.run(
        [sys.executable, "-c", _FAULTS, word], check=True, capture_output=True, text=True
    )
    return int(said.stdout)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt"
)
def test_the_memory_of_one_image_is_there_for_the_next() -> None:
    assert faults("keep") < 20 < faults("leave")
