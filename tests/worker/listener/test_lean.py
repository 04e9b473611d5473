from pathlib import Path

import pytest
from pydicom import config
from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom._validators import validate_ui

from tests.orthanc import free_port
from tests.system.running import RunningWorker
from worker.listener.lean import uids_checked_once

PIXELS = ("numpy", "gdcm", "cv2", "_imaging", "openjpeg", "torch")


def test_the_process_that_receives_holds_no_library_for_pixels(tmp_path: Path) -> None:
    with RunningWorker(tmp_path, pacs_ae="PACS", pacs_port=free_port()) as worker:
        worker.start("listen")
        mapped = Path(f"/proc/{worker.pid}/maps").read_text(encoding="utf-8")
        worker.stop()
    assert [name for name in PIXELS if name in mapped] == []


@pytest.mark.parametrize(
    "value", ["1.2.840.10008.1.1", "1.02", "no uid", " ", "1" * 64, "1" * 65, "", None, 7]
)
def test_a_uid_is_judged_as_pynetdicom_judges_it(value: object) -> None:
    uid = UID(value, validation_mode=config.IGNORE) if isinstance(value, str) else value
    with uids_checked_once():
        plain = validate_ui(uid)  # type: ignore[arg-type]  # whatever a peer may cause to be handed on
        assert _config.VALIDATORS["UI"](uid) == plain


def test_whoever_shares_the_process_finds_the_libraries_as_they_were() -> None:
    before = config.settings.reading_validation_mode, _config.VALIDATORS["UI"]
    with uids_checked_once():
        assert config.settings.reading_validation_mode == config.IGNORE
    assert (config.settings.reading_validation_mode, _config.VALIDATORS["UI"]) == before
