"""The short form of the campaign; the long one is ``python -m tests.campaigns.readers``."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.phantom import draw_phantom
from schemas.images import Sex
from tests.campaigns.readers import cluster_database, measure
from worker.inference.phantom import phantom_radiograph


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_processes_on_postgresql_share_the_images_and_read_each_once(tmp_path: Path) -> None:
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE)
    images = [
        phantom_radiograph(
            drawn,
            age_months=120,
            sex=Sex.FEMALE,
            taken_at=datetime(2026, 1, 5, tzinfo=UTC),
            uid_seed=str(number),
        )
        for number in range(9)
    ]
    with cluster_database() as url:
        rate = measure(tmp_path, url, images, processes=3)

    assert (sum(rate.shares), len(rate.shares), rate.refused) == (9, 3, 0)
