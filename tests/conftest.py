import pytest

from worker.logs import configure_logging


@pytest.fixture(autouse=True)
def strict_log() -> None:
    """Every test fails at a log key that is not on the list."""
    configure_logging(level="debug", strict=True)
