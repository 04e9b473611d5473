"""How the simple gate does on pictures that are no hands; they are for tests alone."""

import zipfile

import cv2
import numpy as np
import pytest

from models.training.places import default_data
from tests.models.builders import judged

ARCHIVE = default_data() / "not_hand.zip"


@pytest.mark.skipif(
    not ARCHIVE.exists(),
    reason=f"there is no {ARCHIVE}; set BONEAGE_TEST_DATA to the folder that holds it",
)
def test_most_pictures_that_are_no_hands_are_refused() -> None:
    refused = []
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [one for one in sorted(archive.namelist()) if not one.endswith("/")][::6]
        for name in names:
            stored = np.frombuffer(archive.read(name), dtype=np.uint8)
            pixels = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
            assert pixels is not None
            verdict = judged(np.asarray(pixels, dtype=np.float32))
            refused.append(verdict.refusal is not None)

    assert np.mean(refused) > 0.6  # 0.76 of all 582; the rest is for a trained gate
