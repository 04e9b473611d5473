"""Stand-ins that behave: a clock that is moved, an estimator without weights, a PACS that obeys.

Each is tested against the same cases as the real thing (``tests/test_fakes.py``).
"""

import socket
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import (
    PresentationContext,
    StoragePresentationContexts,
    VerificationPresentationContexts,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
)

from schemas.estimates import (
    BoneAgeEstimate,
    GateVerdict,
    HandImage,
    Heatmap,
    Interval,
    MemberEstimate,
    Reading,
    ReleaseIdentity,
)
from schemas.images import Sex

SUCCESS = 0x0000
STORED_STATUSES = frozenset({0x0000, 0xB000, 0xB006, 0xB007})


class Clock:
    """A clock that stands still until a test moves it; call it for the time, aware and UTC."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 3, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def forward(
        self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> datetime:
        """Move on and return the new time; a clock goes back by ``back`` alone."""
        step = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        if step < timedelta():
            raise ValueError("a clock goes forward")
        return self._step(step)

    def back(self, *, minutes: float = 0, hours: float = 0) -> datetime:
        """Set it back, as a person or a time server does, and return the new time."""
        return self._step(-timedelta(minutes=minutes, hours=hours))

    def _step(self, step: timedelta) -> datetime:
        with self._lock:
            self._now += step
            return self._now


STUB_RELEASE = ReleaseIdentity(
    name="stub", version="1.0", digest="5" * 64, licence="made for tests, no weights"
)

MAY_BE_READ = GateVerdict(refusal=None)


@dataclass(frozen=True, kw_only=True)
class StubEstimator:
    """A ``schemas.estimates.Estimator`` that answers at once and always the same."""

    age_months: float | None = 120.0  #: as a boy; None: from the pixels, other for other pixels
    girls_less_months: float = 6.0  #: read as a girl, the same image gives this much less
    verdict: GateVerdict = MAY_BE_READ
    error: Exception | None = None  #: raised by ``read``
    release: ReleaseIdentity = STUB_RELEASE
    age_range_months: tuple[float, float] = (12.0, 228.0)
    before_read: Callable[[], None] = field(default=lambda: None)

    def check(self, pixels: NDArray[np.float32]) -> GateVerdict:
        """Return the verdict that the stub was made with."""
        _require_image(pixels)
        return self.verdict

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        """Return one reading for each image, two members that differ by two months."""
        self.before_read()
        if self.error is not None:
            raise self.error
        return [self._reading(image) for image in images]

    def months(self, pixels: NDArray[np.float32], sex: Sex) -> float:
        """Return the age that ``read`` gives for these pixels, so that a test may expect it."""
        months = self.age_months
        if months is None:
            months = 24.0 + zlib.crc32(pixels.tobytes()) % 1800 / 10
        return months - (self.girls_less_months if sex is Sex.FEMALE else 0.0)

    def _reading(self, image: HandImage) -> Reading:
        _require_image(image.pixels)
        estimates = tuple(
            _estimate(sex=sex, months=self.months(image.pixels, sex)) for sex in image.sexes
        )
        rows, columns = image.pixels.shape
        heat = np.full((8, 8), (estimates[0].age_months - 100.0) / 64, dtype=np.float32)
        corners = ((0.2, 0.1), (0.8, 0.1), (0.8, 0.9), (0.2, 0.9), (0.2, 0.1))
        return Reading(
            estimates=estimates,
            heatmap=Heatmap(months=heat, intercept_months=100.0),
            outline=tuple((across * columns, down * rows) for across, down in corners),
            timings_ms={"read": 1.0},
        )


def _estimate(*, sex: Sex, months: float) -> BoneAgeEstimate:
    return BoneAgeEstimate(
        sex=sex,
        age_months=months,
        spread_months=1.0,
        members=(
            MemberEstimate(member="a", age_months=months - 1),
            MemberEstimate(member="b", age_months=months + 1),
        ),
        interval=Interval(low_months=max(0.0, months - 15), high_months=months + 15, coverage=0.9),
    )


def _require_image(pixels: NDArray[np.float32]) -> None:
    if pixels.ndim != 2 or pixels.dtype != np.float32:
        raise TypeError(f"an estimator reads (rows, columns) float32, not {pixels.dtype}")


class Drop(Enum):
    """When a FakePacs cuts an association."""

    DURING_TRANSFER = auto()  #: after the first bytes of an object: nothing was stored
    BEFORE_ANSWER = auto()  #: the object is stored, but the sender never hears of it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """One C-STORE that reached the handler of a FakePacs, whatever it answered."""

    sop_class_uid: str
    sop_instance_uid: str
    calling_ae: str
    dataset: Dataset
    status: int
    association: int  #: 1 for the first association that this PACS accepted, and so on


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentQuestion:
    """One N-ACTION for storage commitment that reached a FakePacs."""

    transaction_uid: str
    references: tuple[tuple[str, str], ...]  #: SOP class and instance of each object


class FakePacs:
    """A real archive on the loopback that records and obeys: storage, proof, query, echo.

    ``port`` stays the same through ``go_down`` and ``come_up``. Everything that tells it how to
    behave may be called at any time, from any thread.
    """

    def __init__(
        self, ae_title: str = "PACS", *, refused_classes: Collection[str] = (), port: int = 0
    ) -> None:
        self.ae_title = ae_title
        self.port = port
        self.reports_at_once = False  #: storage commitment: on the association of the request
        self.reports_before_answer = 0  #: so many reports go out before the request is answered
        self.commitment_status = SUCCESS  #: the answer to a request for storage commitment
        self.find_status = SUCCESS  #: the last answer to a C-FIND
        self._questions: list[CommitmentQuestion] = []
        self.duplicate_status = SUCCESS  #: the answer to an instance that it already has
        self._refused_classes = frozenset(refused_classes)
        self._statuses: list[tuple[int, str | None]] = []
        self._standing_status: dict[str | None, int] = {}
        self._drops: list[Drop] = []
        self._requests: list[StoreRequest] = []
        self._stored: dict[str, Dataset] = {}
        self._associations: list[Any] = []
        self._connections: list[socket.socket] = []
        self._is_open = threading.Event()
        self._is_open.set()
        self._is_reading = threading.Event()
        self._is_reading.set()
        self._held_count = 0
        self._echo_count = 0
        self._changed = threading.Condition()
        self._server: Any = None
        self._application: AE | None = None

    def __enter__(self) -> Self:
        self.come_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()
        self.go_down()

    # what a test says to it

    def answer(self, *statuses: int, sop_class_uid: str | None = None) -> None:
        """Give these statuses, one each, to the next requests (of one class, if named)."""
        with self._changed:
            self._statuses += [(status, sop_class_uid) for status in statuses]

    def always_answer(self, status: int, *, sop_class_uid: str | None = None) -> None:
        """Give this status to every request (of one class, if named) until told otherwise."""
        with self._changed:
            self._standing_status[sop_class_uid] = status

    def refuse(self, *sop_class_uids: str) -> None:
        """Reject presentation contexts of exactly these classes from the next association on."""
        self._refused_classes = frozenset(sop_class_uids)
        if self._server is not None:
            self._server.contexts = self._contexts()

    def know_only(self, *calling_aes: str) -> None:
        """Reject associations from all others; without names, from nobody."""
        if self._application is not None:
            self._application.require_calling_aet = list(calling_aes)

    def lose(self, *sop_instance_uids: str) -> None:
        """Forget objects that it had taken."""
        with self._changed:
            for uid in sop_instance_uids or tuple(self._stored):
                del self._stored[uid]

    def report(self, question: CommitmentQuestion, *, port: int, times: int = 1) -> list[int]:
        """Report on a new association to our listener; return what it answered each time."""
        entity = AE(self.ae_title)
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        line = entity.associate("127.0.0.1", port, ae_title="BONEAGE", ext_neg=[role])
        if not line.is_established:
            raise ConnectionError(f"{self.ae_title}: nobody takes the report")
        try:
            answers = [self._report(line, question) for _ in range(times)]
        finally:
            line.release()
        return answers

    def drop(self, *drops: Drop) -> None:
        """Cut the next transfers, one each, in these ways."""
        with self._changed:
            self._drops += drops

    def hold(self) -> None:
        """Take objects in, but answer nobody until ``let_go``."""
        self._is_open.clear()

    def stop_reading(self) -> None:
        """Leave the bytes of every object in the line until ``let_go``."""
        self._is_reading.clear()

    def let_go(self) -> None:
        """Read and answer again, also those who wait."""
        self._is_reading.set()
        self._is_open.set()

    def go_down(self) -> None:
        """Stop listening and cut what is open; a new association is refused by the system."""
        application, self._application = self._application, None
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
        for association in application.active_associations if application is not None else []:
            if association.is_established:  # pynetdicom cannot abort one that it has rejected
                association.abort()
        while self._connections:  # pynetdicom leaves those open that the other side has cut
            self._connections.pop().close()

    def come_up(self) -> None:
        """Listen (again) on the loopback."""
        application = AE(self.ae_title)
        application.maximum_pdu_size = 131072
        application.maximum_associations = 100
        application.require_called_aet = True
        self._application = application
        self._server = application.start_server(
            ("127.0.0.1", self.port),
            block=False,
            contexts=self._contexts(),
            evt_handlers=[
                (evt.EVT_C_STORE, self._handle_store),
                (evt.EVT_C_ECHO, self._handle_echo),
                (evt.EVT_N_ACTION, self._handle_action),
                (evt.EVT_C_FIND, self._handle_find),
                (evt.EVT_PDU_RECV, self._handle_pdu),
                (evt.EVT_CONN_OPEN, self._handle_connection),
                (evt.EVT_ESTABLISHED, self._handle_established),
            ],
        )
        self.port = self._server.server_address[1]

    # what a test asks it

    @property
    def requests(self) -> tuple[StoreRequest, ...]:
        """Return every C-STORE that was answered, in order."""
        with self._changed:
            return tuple(self._requests)

    @property
    def stored(self) -> dict[str, Dataset]:
        """Return what it holds, by SOP Instance UID: what a reader at this PACS would see."""
        with self._changed:
            return dict(self._stored)

    @property
    def questions(self) -> tuple[CommitmentQuestion, ...]:
        """Return every request for storage commitment, in order."""
        with self._changed:
            return tuple(self._questions)

    @property
    def held_count(self) -> int:
        """Return how many objects have come in while it was told to hold its answers."""
        with self._changed:
            return self._held_count

    @property
    def echo_count(self) -> int:
        """Return how many C-ECHO it has answered."""
        with self._changed:
            return self._echo_count

    @property
    def association_count(self) -> int:
        """Return how many associations were accepted so far."""
        with self._changed:
            return len(self._associations)

    def wait_for(
        self, condition: Callable[["FakePacs"], bool], *, limit_seconds: float = 20
    ) -> None:
        """Return when ``condition(self)`` holds, asked after each request and association."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), limit_seconds):
                raise TimeoutError(f"{self.ae_title}: still not so after {limit_seconds} s")

    # what pynetdicom calls

    def _contexts(self) -> list[PresentationContext]:
        services = [
            build_context(StorageCommitmentPushModel),
            build_context(StudyRootQueryRetrieveInformationModelFind),
        ]
        return [
            context
            for context in [
                *VerificationPresentationContexts,
                *StoragePresentationContexts,
                *services,
            ]
            if str(context.abstract_syntax) not in self._refused_classes
        ]

    def _handle_connection(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket
        if connection is not None and connection.socket is not None:
            self._connections.append(connection.socket)

    def _handle_established(self, event: evt.Event) -> None:
        with self._changed:
            self._associations.append(event.assoc)
            self._changed.notify_all()

    def _handle_pdu(self, event: evt.Event) -> None:
        if type(event.pdu).__name__ != "P_DATA_TF":
            return
        self._is_reading.wait()
        with self._changed:
            is_cut = bool(self._drops) and self._drops[0] is Drop.DURING_TRANSFER
            if is_cut:
                self._drops.pop(0)
        if is_cut:
            event.assoc.abort(block=False)

    def _handle_echo(self, _event: evt.Event) -> int:
        with self._changed:
            self._echo_count += 1
            self._changed.notify_all()
        return SUCCESS

    def _handle_action(self, event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        question = CommitmentQuestion(
            transaction_uid=str(asked.TransactionUID),
            references=tuple(
                (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                for item in asked.ReferencedSOPSequence
            ),
        )
        with self._changed:
            self._questions.append(question)
            self._changed.notify_all()
        for _ in range(self.reports_before_answer):
            self._report(event.assoc, question)
        if self.reports_at_once and self.commitment_status == SUCCESS:
            threading.Thread(target=self._report, args=(event.assoc, question), daemon=True).start()
        return self.commitment_status, None

    def _report(self, line: Any, question: CommitmentQuestion) -> int:  # noqa: ANN401 - pynetdicom's
        report = Dataset()
        report.TransactionUID = question.transaction_uid
        held = self.stored
        kept = [each for each in question.references if each[1] in held]
        lost = [each for each in question.references if each[1] not in held]
        if kept:
            report.ReferencedSOPSequence = [_reference(*each) for each in kept]
        if lost:
            report.FailedSOPSequence = [_reference(*each, reason=0x0112) for each in lost]
        answer, _ = line.send_n_event_report(
            report,
            2 if lost else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        return int(answer.Status)

    def _handle_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        if asked.QueryRetrieveLevel == "IMAGE" and self.find_status == SUCCESS:
            for each in self.stored.values():
                if all(asked[key].value == each[key].value for key in keys):
                    found = Dataset()
                    for key in keys:
                        setattr(found, key, each[key].value)
                    yield 0xFF00, found
        yield self.find_status, None

    def _handle_store(self, event: evt.Event) -> int:
        if not self._is_open.is_set():
            with self._changed:
                self._held_count += 1
                self._changed.notify_all()
            self._is_open.wait()
        request, dataset = event.request, event.dataset
        if not isinstance(request, C_STORE):
            raise TypeError("only C-STORE comes here")
        dataset.file_meta = event.file_meta
        uid, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        with self._changed:
            is_cut = bool(self._drops) and self._drops[0] is Drop.BEFORE_ANSWER
            if is_cut:
                self._drops.pop(0)
            status = self._status_for(uid, sop_class)
            if status in STORED_STATUSES:
                self._stored.setdefault(uid, dataset)
            self._requests.append(
                StoreRequest(
                    sop_class_uid=sop_class,
                    sop_instance_uid=uid,
                    calling_ae=event.assoc.requestor.ae_title.strip(),
                    dataset=dataset,
                    status=status,
                    association=self._associations.index(event.assoc) + 1,
                )
            )
            self._changed.notify_all()
        if is_cut:
            event.assoc.abort(block=False)
        return status

    def _status_for(self, uid: str, sop_class_uid: str) -> int:
        for index, (status, only_class) in enumerate(self._statuses):
            if only_class in (None, sop_class_uid):
                del self._statuses[index]
                return status
        for key in (sop_class_uid, None):
            if key in self._standing_status:
                return self._standing_status[key]
        return self.duplicate_status if uid in self._stored else SUCCESS


def _reference(sop_class_uid: str, sop_instance_uid: str, *, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item
