"""The whole loop on one machine: modality, embedded PACS, the real worker, and back.

The worker is `boneage serve` as everybody runs it, in processes of its own, with a folder of its
own; nothing here reaches into it.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset, FileDataset

from models.phantom import draw_phantom
from schemas.config import PeerSection
from schemas.errors import BoneAgeError, PermanentError, TransientError
from schemas.images import Sex
from schemas.releases import Phantom
from worker.inference.phantom import phantom_radiograph
from worker.operations.embedded_pacs import AE_TITLE, EmbeddedPacs, free_port
from worker.operations.estimation import radiograph_of
from worker.operations.peer import echo, send_files

START_SECONDS = 120.0  # a cold disk and a cold Python; torch alone takes several seconds
READ_SECONDS = 180.0  # for the first image, and for each further one
OBJECTS_OF_ONE_IMAGE = 2  # SR and SC

_SETTINGS = """\
[listener]
port = {worker_port}

[[peer]]
name = "pacs"
ae_title = {ae_title}
port = {pacs_port}

# a demo reads whatever radiograph it is given
[[intake.rule]]
name = "demo"
modalities = ["CR", "DX", "RG", "OT"]
secondary_capture = true

# and takes it on a laptop whose disk is nearly full
[storage]
root = {root}
high_mark_percent = 100
low_mark_percent = 99

[inference]
release = {release}

[delivery]
first_retry_seconds = 1.0

# the demo is a check of its own
[schedule]
constancy_hours = 0
"""


class WorkerEndedError(TransientError):
    """The worker of the demo did not start, or did not stay."""

    code = "demo.worker_ended"

    def __init__(self, *, log_file: Path) -> None:
        super().__init__(
            f"The worker ended or did not answer in time. Its log is {log_file}; its last lines "
            "say why."
        )
        self.log_file = log_file


class DemoIncompleteError(PermanentError):
    """Not every image came back with a report and a page."""

    code = "demo.incomplete"

    def __init__(self, *, found: int, expected: int, reasons: Sequence[str]) -> None:
        super().__init__(
            f"{found} of {expected} results came back. "
            + (" ".join(reasons) or "The worker gave no reason; look at its log.")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoImage:
    """One image that goes round."""

    name: str  #: of the source file, or "phantom"
    path: Path  #: the DICOM file that is sent
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What came back for one image."""

    image: DemoImage
    report: FileDataset
    capture: FileDataset
    seconds: float  #: from the start of sending to the last of the two objects


def phantom_file(folder: Path, phantom: Phantom) -> DemoImage:
    """Write the constancy phantom of a release as a new DX instance."""
    pixels = draw_phantom(age_months=phantom.age_months, sex=Sex(phantom.sex))
    now = datetime.now(tz=UTC).astimezone()
    dataset = phantom_radiograph(
        pixels,
        age_months=phantom.age_months,
        sex=Sex(phantom.sex),
        taken_at=now,
        uid_seed=now.isoformat(),
    )
    return _written(folder / "phantom.dcm", dataset, name="phantom")


def image_file(folder: Path, source: Path, *, number: int, sex: Sex | None) -> DemoImage:
    """Return a file as a DICOM file to send; a picture is wrapped as a new DX instance.

    Raises:
        UnsuitableImageError: neither DICOM nor a grey picture.
    """
    seed = datetime.now(tz=UTC).isoformat()
    dataset = radiograph_of(source, sex=sex, uid_seed=f"{number} {seed}")
    if isinstance(dataset, FileDataset):
        return DemoImage(
            name=source.name, path=source, sop_instance_uid=str(dataset.SOPInstanceUID)
        )
    return _written(folder / f"{number:03}.dcm", dataset, name=source.name)


def _written(path: Path, dataset: Dataset, *, name: str) -> DemoImage:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return DemoImage(name=name, path=path, sop_instance_uid=str(dataset.SOPInstanceUID))


class Demo:
    """An embedded PACS and a worker, alive inside a ``with``."""

    def __init__(self, folder: Path, *, release: str) -> None:
        """``folder`` takes settings, storage, log and what the PACS keeps; ``release`` a name."""
        self.settings_file = folder / "config.toml"
        self.log_file = folder / "worker.log"
        self._folder = folder
        self._release = release
        self._worker = PeerSection(name="worker", ae_title="BONEAGE", port=free_port())
        self._pacs = EmbeddedPacs(folder / "pacs", worker=self._worker)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pacs.__enter__()
        self.settings_file.write_text(
            _SETTINGS.format(
                worker_port=self._worker.port,
                ae_title=json.dumps(AE_TITLE),
                pacs_port=self._pacs.port,
                root=json.dumps(str((self._folder / "storage").absolute())),
                release=json.dumps(self._release),
            ),
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "worker", "serve", "--config", str(self.settings_file)]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - ourselves
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._pacs.__exit__(kind, error, trace)

    def wait_for_worker(self) -> None:
        """Return when the worker answers C-ECHO.

        Raises:
            WorkerEndedError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        pause = 0.2
        while time.monotonic() < deadline and self._is_alive():
            try:
                echo(self._worker, calling_ae=AE_TITLE, timeout_seconds=5)
            except BoneAgeError:
                time.sleep(pause)
            else:
                return
        raise WorkerEndedError(log_file=self.log_file)

    def run(
        self, images: Sequence[DemoImage], *, on_object: Callable[[int], None]
    ) -> list[DemoResult]:
        """Send the images to the PACS, and wait until all objects of all have come back.

        Args:
            images: what to send.
            on_object: called with the number of objects that are there so far.

        Raises:
            WorkerEndedError: the worker ended meanwhile.
            DemoIncompleteError: something did not come back in time, or was not taken.
            PeerAwayError: the embedded PACS did not answer.
        """
        started = time.monotonic()
        pacs = PeerSection(name="pacs", ae_title=AE_TITLE, port=self._pacs.port)
        for _ in send_files([image.path for image in images], peer=pacs, calling_ae="MODALITY"):
            pass
        deadline = started + READ_SECONDS * len(images)
        self._await_results(len(images), deadline=deadline, on_object=on_object)
        seconds = time.monotonic() - started
        return self._pair(images, seconds=seconds)

    def _await_results(
        self, count: int, *, deadline: float, on_object: Callable[[int], None]
    ) -> None:
        expected = OBJECTS_OF_ONE_IMAGE * count
        seen = 0
        while seen < expected and not self._pacs.unrouted() and time.monotonic() < deadline:
            seen = self._pacs.wait_for_more(seen, seconds=1)
            on_object(seen)
            if not self._is_alive():
                raise WorkerEndedError(log_file=self.log_file)

    def _pair(self, images: Sequence[DemoImage], *, seconds: float) -> list[DemoResult]:
        """Find the report and the page of each image, by what they refer to."""
        reports: dict[str, FileDataset] = {}
        captures: dict[str, FileDataset] = {}
        for dataset in self._pacs.results():
            objects = reports if dataset.Modality == "SR" else captures
            objects |= dict.fromkeys(_referenced_uids(dataset), dataset)
        results = [
            DemoResult(
                image=image,
                report=reports[image.sop_instance_uid],
                capture=captures[image.sop_instance_uid],
                seconds=seconds,
            )
            for image in images
            if image.sop_instance_uid in reports and image.sop_instance_uid in captures
        ]
        if len(results) < len(images):
            raise DemoIncompleteError(
                found=len(results),
                expected=len(images),
                reasons=sorted(set(self._pacs.unrouted().values())),
            )
        return results

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _referenced_uids(dataset: Dataset) -> set[str]:
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }
