from pathlib import Path

from tests.orthanc import free_port
from tests.system.running import RunningWorker

PIXELS = ("numpy", "gdcm", "cv2", "_imaging", "openjpeg", "torch")


def test_the_process_that_receives_holds_no_library_for_pixels(tmp_path: Path) -> None:
    with RunningWorker(tmp_path, pacs_ae="PACS", pacs_port=free_port()) as worker:
        worker.start("listen")
        mapped = Path(f"/proc/{worker.pid}/maps").read_text(encoding="utf-8")
        worker.stop()
    assert [name for name in PIXELS if name in mapped] == []
