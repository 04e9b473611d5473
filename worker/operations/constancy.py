"""The constancy check: the phantom goes the round that every image goes, and comes out the same.

Queue, inference and delivery are the real ones; only the two ends are ours. The phantom does not
come over the network, and its results go to a destination of this machine that forgets them
(``constancy_sink``), so that no PACS fills with phantoms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from models.phantom import draw_phantom
from schemas.config import PeerSection
from schemas.errors import TransientError
from schemas.figures import ConstancyFigures
from schemas.images import Sex
from schemas.jobs import Arrival, Receipt
from schemas.phantom import CONSTANCY_AE, SELFTEST_AE, SELFTEST_SCHEME
from schemas.releases import Phantom
from worker.health.constancy import Expected, is_wrong
from worker.inference.phantom import phantom_radiograph
from worker.listener.spool import FileMeta, Spool

#: how soon a round is repeated that went wrong, or that another release must go
REPEAT_AFTER: Final = timedelta(minutes=15)
_SPOOL_LIMIT_BYTES: Final = 64_000_000  # the phantom has 3.3 MB


class PhantomNotKeptError(TransientError):
    """The phantom could not even be put on its way."""

    code = "constancy.not_kept"

    def __init__(self) -> None:
        super().__init__(
            "The phantom could not be written to the spool, so nothing was checked. Images of "
            "patients would not be taken either: look at the space and rights of [storage] root."
        )


class ArrivalQueue(Protocol):
    """What the check needs of ``worker.queue.jobs.JobQueue``."""

    def receive(self, arrival: Arrival) -> Receipt: ...  # noqa: D102 - see JobQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstancyCheck:
    """Sends the phantom on its way; ``worker.health.constancy`` judges how it came back."""

    spool: Spool
    queue: ArrivalQueue
    phantom: Phantom
    called_ae: str
    now: Callable[[], datetime]

    def begin(self, *, to: PeerSection | None = None) -> str:
        """Put one phantom into spool and queue; return its SOP Instance UID.

        Args:
            to: whose PACS gets the results; none: nobody's.

        Raises:
            PhantomNotKeptError: the disk or the database refused.
        """
        dataset = self._draw(to)
        meta = FileMeta(
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        )
        incoming = self.spool.open(meta, limit_bytes=_SPOOL_LIMIT_BYTES)
        try:
            incoming.write(encode(dataset, is_implicit_vr=False, is_little_endian=True) or b"")
            kept = self.spool.keep(incoming, sop_instance_uid=meta.sop_instance_uid)
        except TransientError as error:
            raise PhantomNotKeptError from error
        finally:
            incoming.discard()
        self.queue.receive(
            Arrival(
                sop_instance_uid=meta.sop_instance_uid,
                sop_class_uid=meta.sop_class_uid,
                study_instance_uid=str(dataset.StudyInstanceUID),
                transfer_syntax_uid=meta.transfer_syntax_uid,
                digest=kept.digest,
                size_bytes=kept.size_bytes,
                spool_file=kept.spool_file,
                calling_ae=CONSTANCY_AE if to is None else SELFTEST_AE,
                called_ae=self.called_ae,
                peer_address="127.0.0.1",
            )
        )
        return meta.sop_instance_uid

    def _draw(self, to: PeerSection | None) -> Dataset:
        at, phantom = self.now().astimezone(), self.phantom
        dataset = phantom_radiograph(
            draw_phantom(age_months=phantom.age_months, sex=Sex(phantom.sex)),
            age_months=phantom.age_months,
            sex=Sex(phantom.sex),
            taken_at=at,
            uid_seed=at.isoformat(),
        )
        if to is not None:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator = to.ae_title, SELFTEST_SCHEME
            code.CodeMeaning = "Selftest"
            dataset.ProcedureCodeSequence = [code]
        return dataset


def is_due(
    rounds: tuple[ConstancyFigures, ...],
    *,
    at: datetime,
    every: timedelta,
    expected: Expected,
) -> bool:
    """Say whether the phantom is to be sent: never two at once, and sooner after a bad round."""
    if not rounds:
        return True
    newest = rounds[0]
    if newest.ended_at is None:
        return False
    is_wrong_now = is_wrong(newest, expected.phantom)
    is_of_today = newest.release_digest == expected.release_digest and not is_wrong_now
    return at - newest.started_at >= (every if is_of_today else min(every, REPEAT_AFTER))
