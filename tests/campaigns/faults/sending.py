"""Four senders, who send as modalities do: until they are told Success, now and then twice."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from random import Random

from pydicom.dataset import Dataset

from tests.builders import hand_pixels, hand_radiograph
from tests.campaigns.wire import RELEASE_RQ, Wire, association_request, pdu, store_request
from tests.worker.listener.encoding import DX, EXPLICIT

SENDERS = ("MODALITY1", "MODALITY2", "MODALITY3", "MODALITY4")
SUCCESS = 0x0000
_ROOT = "1.2.826.0.1.3680043.10.1099"
_ANY = 1_000_000  # numbers from here on have as many digits as one another
_PAUSE_SECONDS = 0.1  # before a sender tries again
_PREAMBLE_BYTES = 132


@dataclass(frozen=True, kw_only=True)
class Image:
    """One radiograph of one child, in a study of its own."""

    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    content: bytes  #: the data set, Explicit VR Little Endian
    is_resent: bool = True  #: its sender tries again until it is told Success
    is_doubled: bool = False  #: its sender sends it once more after that


class Film:
    """Makes images that differ in who they are, not in what they show."""

    def __init__(self, *, seed: int, rows: int = 320, columns: int = 256) -> None:
        self._seed = _ANY + seed % _ANY
        dataset = hand_radiograph(
            hand_pixels(rows=rows, columns=columns),
            BitsStored=12,
            SOPInstanceUID=f"{_uid(_ANY, _ANY, _ANY)}.1",
            StudyInstanceUID=f"{_uid(_ANY, _ANY, _ANY)}.2",
            SeriesInstanceUID=f"{_uid(_ANY, _ANY, _ANY)}.3",
            PatientID=_patient(_ANY, _ANY),
        )
        self._template = _dataset_bytes(dataset)

    def image(self, run: int, number: int, *, chance: Random | None = None) -> Image:
        """Return image ``number`` of a run; ``chance`` decides how its sender behaves."""
        run, number = _ANY + run, _ANY + number
        uid, patient = _uid(self._seed, run, number), _patient(run, number)
        content = self._template.replace(_uid(_ANY, _ANY, _ANY).encode(), uid.encode())
        return Image(
            sop_instance_uid=f"{uid}.1",
            study_instance_uid=f"{uid}.2",
            patient_id=patient,
            content=content.replace(_patient(_ANY, _ANY).encode(), patient.encode()),
            is_resent=chance is None or chance.random() < 0.8,
            is_doubled=chance is not None and chance.random() < 0.2,
        )

    def images(self, run: int, count: int, *, chance: Random | None = None) -> list[Image]:
        return [self.image(run, number, chance=chance) for number in range(count)]


def _uid(seed: int, run: int, number: int) -> str:
    return f"{_ROOT}.{seed}.{run}.{number}"


def _patient(run: int, number: int) -> str:
    return f"CHILD-{run}-{number}"


def _dataset_bytes(dataset: Dataset) -> bytes:
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    whole = written.getvalue()
    length = int.from_bytes(whole[_PREAMBLE_BYTES + 8 : _PREAMBLE_BYTES + 12], "little")
    return whole[_PREAMBLE_BYTES + 12 + length :]


@dataclass(kw_only=True)
class Traffic:
    """What the senders were told; None: the association ended without an answer."""

    statuses: dict[str, list[int | None]] = field(default_factory=dict)

    @property
    def acknowledged(self) -> set[str]:
        return {uid for uid, told in self.statuses.items() if SUCCESS in told}

    def count(self, status: int | None) -> int:
        return sum(told.count(status) for told in self.statuses.values())


class Senders:
    """Sends images from four AE titles at once, each over associations of its own."""

    def __init__(
        self,
        port: int,
        *,
        over: threading.Event | None = None,
        calling_aes: Sequence[str] = SENDERS,
    ) -> None:
        """``over`` ends the patience of everybody."""
        self._port = port
        self._calling_aes = calling_aes
        self._over = over or threading.Event()

    def send(self, images: Sequence[Image], traffic: Traffic | None = None) -> Traffic:
        """Send every image and return when each sender is content, or gives up as it may."""
        traffic = traffic or Traffic()
        traffic.statuses.update({image.sop_instance_uid: [] for image in images})
        count = len(self._calling_aes)
        with ThreadPoolExecutor(count) as pool:
            shares = [images[number::count] for number in range(count)]
            list(pool.map(self._send_share, self._calling_aes, shares, [traffic] * count))
        return traffic

    def _send_share(self, calling_ae: str, images: Sequence[Image], traffic: Traffic) -> None:
        wire: Wire | None = None
        for image in images:
            told = traffic.statuses[image.sop_instance_uid]
            wanted = 2 if image.is_doubled else 1
            while not self._over.is_set() and told.count(SUCCESS) < wanted:
                wire = self._send_one(wire, image, calling_ae, told)
                if SUCCESS not in told and not image.is_resent:
                    break
                if told and told[-1] != SUCCESS:
                    self._over.wait(_PAUSE_SECONDS)
        if wire is not None:
            wire.send(pdu(RELEASE_RQ, bytes(4)))
            wire.finish()
            wire.close()

    def _send_one(
        self, wire: Wire | None, image: Image, calling_ae: str, told: list[int | None]
    ) -> Wire | None:
        """Send over the open association, or a new one; return it if it is still good."""
        try:
            wire = wire or self._associated(calling_ae)
        except OSError:
            wire = None
        if wire is None:
            told.append(None)
            return None
        status = wire.store(
            store_request(image.content, sop_class_uid=DX, sop_instance_uid=image.sop_instance_uid)
        )
        told.append(status)
        if status is not None:
            return wire
        wire.close()
        return None

    def _associated(self, calling_ae: str) -> Wire | None:
        wire = Wire(self._port)
        if wire.associate(association_request((DX, EXPLICIT), calling_ae=calling_ae)):
            return wire
        wire.close()
        return None
