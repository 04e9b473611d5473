from pathlib import Path

import pytest

from schemas.config import SrClass
from schemas.jobs import JobEvent
from tests.worker.listener.conftest import Site
from tests.worker.listener.encoding import EXPLICIT, dataset
from tests.worker.listener.sending import encoded_file, store
from worker.listener.spool import FileMeta
from worker.reporting.identities import SR_CLASS_UIDS

MOST = 20  # rows of one kind in a minute


@pytest.fixture
def flooded(site: Site, tmp_path: Path) -> Site:
    """A site that has refused thirty objects, ten of them without a row in the trail."""
    meta = FileMeta(
        sop_class_uid=SR_CLASS_UIDS[SrClass.ENHANCED],
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=EXPLICIT,
    )
    foreign = encoded_file(
        tmp_path / "foreign.dcm", dataset(sop_class_uid=meta.sop_class_uid), meta
    )
    assert set(store(site.port, *[foreign] * (MOST + 10))) == {0x0122}
    assert len(site.events) == MOST
    return site


def rows_behind_the_flood(site: Site) -> list[JobEvent]:
    return site.events[MOST:]


def test_the_end_of_a_flood_is_written_down_though_nothing_more_comes(
    flooded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded.listener.write_left_out()
    assert rows_behind_the_flood(flooded) == []  # its minute is not over

    monkeypatch.setattr("worker.listener.pace.WINDOW_SECONDS", 0.0)
    flooded.listener.write_left_out()
    flooded.listener.write_left_out()

    (row,) = rows_behind_the_flood(flooded)
    assert (row.event, row.reason) == ("refused", "receive.foreign_report")
    assert row.detail["left_out"] == 10
    assert row.detail["calling_ae"] == flooded.events[0].detail["calling_ae"]


def test_a_listener_that_ends_writes_down_what_it_has_left_out(flooded: Site) -> None:
    flooded.listener.stop()

    (row,) = rows_behind_the_flood(flooded)
    assert row.detail["left_out"] == 10
