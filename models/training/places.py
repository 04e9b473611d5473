"""Where radiographs for training lie: ``BONEAGE_TEST_DATA``, beside the repository by default."""

import os
from pathlib import Path


def default_data() -> Path:
    """Return the data folder; commands take another with ``--data``."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("BONEAGE_TEST_DATA", beside))
