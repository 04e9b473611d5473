"""Read what an archive says about storage commitment (PS3.4 J.3.3), whoever receives it."""

from pydicom.dataset import Dataset

from schemas.errors import PermanentError
from schemas.jobs import CommitmentReport

#: all are kept; some are not (PS3.4 table J.3-2)
EVENT_TYPES = (1, 2)
#: Failure Reason for a failed item that names none: processing failure (PS3.3 C.14.1.1)
_NO_REASON = 0x0110


class CommitmentReportError(PermanentError):
    """A report that cannot be understood; the archive is told so and may send another."""

    code = "commitment.report"

    def __init__(self, *, what: str) -> None:
        """``what`` is one of a few fixed phrases."""
        super().__init__(
            f"A storage commitment report cannot be understood: {what}. It changed nothing; the "
            "objects are asked for again. If this lasts, ask the vendor of the archive."
        )


def read_commitment_report(dataset: Dataset, *, event_type: int | None) -> CommitmentReport:
    """Return what the event information of one N-EVENT-REPORT says.

    Raises:
        CommitmentReportError: it is not one of storage commitment.
    """
    if event_type not in EVENT_TYPES:
        raise CommitmentReportError(what="its event type is neither 1 nor 2")
    transaction_uid = str(dataset.get("TransactionUID", "") or "")
    if not transaction_uid:
        raise CommitmentReportError(what="it has no Transaction UID")
    return CommitmentReport(
        transaction_uid=transaction_uid,
        committed=tuple(_uid(item) for item in dataset.get("ReferencedSOPSequence") or ()),
        failed={
            _uid(item): int(item.get("FailureReason") or _NO_REASON)
            for item in dataset.get("FailedSOPSequence") or ()
        },
    )


def _uid(item: Dataset) -> str:
    return str(item.get("ReferencedSOPInstanceUID", "") or "")
