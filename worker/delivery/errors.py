"""What can go wrong on the way to a destination; the family decides what happens next."""

import os

from schemas.errors import BoneAgeError, PermanentError, TransientError
from schemas.jobs import ObjectKind
from worker.delivery.statuses import DUPLICATE_SOP_INSTANCE, MOST_LIMITED_TRIES


class DestinationAwayError(TransientError):
    """The destination as a whole, not this object, is the trouble: its lane rests for a while."""

    code = "delivery.away"


class PeerUnreachableError(DestinationAwayError):
    """No association: the peer is down, elsewhere, or does not want us."""

    code = "delivery.unreachable"

    def __init__(self, *, peer: str, host: str, port: int, found: str) -> None:
        """``found`` is one of a few fixed phrases."""
        super().__init__(
            f"No association with {peer} ({host}:{port}): {found}. Nothing is lost; it is tried "
            f"again by itself. Check with `boneage peers echo {peer}`."
        )


class NoAnswerError(TransientError):
    """The association ended before the peer answered; it may or may not have the object."""

    code = "delivery.no_answer"

    def __init__(self, *, peer: str) -> None:
        super().__init__(
            f"{peer} cut the association or fell silent before it answered. The same bytes are "
            "sent again by themselves, which is harmless."
        )


class DestinationBusyError(DestinationAwayError):
    """The peer answered that it cannot take the object now."""

    code = "delivery.busy"

    def __init__(self, *, peer: str, status: int) -> None:
        super().__init__(
            f"{peer} answered 0x{status:04X}: it cannot store now (disk full or overloaded). "
            "It is tried again by itself; if this lasts, tell the people who run it."
        )
        self.status = status


class DoubtfulStatusError(TransientError):
    """A status that seldom mends itself: a few tries, then an operator."""

    code = "delivery.not_understood"

    def __init__(self, *, peer: str, status: int) -> None:
        why = (
            "it holds an object with this UID, but we never sent it ours"
            if status == DUPLICATE_SOP_INSTANCE
            else "it could not process the object"
        )
        super().__init__(
            f"{peer} answered 0x{status:04X}: {why}. After {MOST_LIMITED_TRIES} tries an operator "
            f"is needed: look at the log of {peer} and at the study there, then "
            "`boneage jobs requeue --deliver-only`."
        )
        self.status = status


class ObjectRefusedError(PermanentError):
    """The peer will never take these bytes as it is set up now."""

    code = "delivery.refused"

    def __init__(self, *, peer: str, status: int) -> None:
        super().__init__(
            f"{peer} answered 0x{status:04X}, which does not mend itself. Allow our AE title to "
            f"store there (or look at its log), then `boneage jobs requeue --deliver-only`."
        )
        self.status = status


class NoClassTakenError(PermanentError):
    """The peer takes none of the SOP classes that the object can be sent in."""

    code = "delivery.no_class"

    def __init__(self, *, peer: str, kind: ObjectKind, status: int | None) -> None:
        """``status`` is the last one it answered; None: it rejected the contexts."""
        how = "rejected the presentation context" if status is None else f"answered 0x{status:04X}"
        super().__init__(
            f"{peer} takes no class that the {kind.value} can be sent in (it {how}). Allow one "
            f"there, or change sr_classes or objects of [[peer]] {peer}; then "
            "`boneage jobs requeue --deliver-only`."
        )
        self.status = status


class ResultFileError(PermanentError):
    """A file of the result is missing, damaged, or belongs to somebody else."""

    code = "delivery.result_file"

    def __init__(self, *, file: str, found: str) -> None:
        """``file`` is a fixed file name; ``found`` is one of a few fixed phrases."""
        super().__init__(
            f"{file} of this result {found}. Nothing was sent. `boneage jobs requeue` makes the "
            "result again from the image; if it happens twice, check the disk."
        )


class DiskError(TransientError):
    """Our own disk did not give or take a file."""

    code = "delivery.disk"

    def __init__(self, *, errno: int | None) -> None:
        name = os.strerror(errno) if errno is not None else "unknown"
        super().__init__(
            f"A file of the result could not be read or written ({name}). It is tried again by "
            "itself; check space and health of the disk under storage.root."
        )


class UnexpectedError(BoneAgeError):
    """A bug of ours: tried a few times, because it may have been the database or the disk."""

    code = "delivery.unexpected"

    def __init__(self, *, kind: str) -> None:
        """``kind`` is the type of the error; what it says may quote a value."""
        super().__init__(
            f"An unexpected {kind} stopped the delivery of this object. The log holds the place. "
            "Please report it; then `boneage jobs requeue --deliver-only`."
        )


class ProofRefusedError(TransientError):
    """The peer does not answer the question whether it keeps an object."""

    code = "delivery.proof_refused"

    def __init__(self, *, peer: str, how: str, status: int | None) -> None:
        """``status`` None: it rejected the presentation context."""
        what = "rejected the presentation context" if status is None else f"answered 0x{status:04X}"
        super().__init__(
            f"{peer} took the object, but {what} of our {how}. It is asked again by itself. Allow "
            f"{how} for our AE title there, or set commitment of [[peer]] {peer} to what it can."
        )


class NoProofError(TransientError):
    """The peer took the object and did not prove in time that it keeps it."""

    code = "delivery.no_proof"

    def __init__(self, *, peer: str, how: str) -> None:
        super().__init__(
            f"{peer} took the object, but did not prove by {how} that it keeps it. The same bytes "
            "are sent again by themselves. If this lasts: is our AE title with our port known "
            "there, so that its report can reach us?"
        )


class NeverProvedError(PermanentError):
    """The peer took the object again and again and never proved that it keeps it."""

    code = "delivery.never_proved"

    def __init__(self, *, peer: str, days: float) -> None:
        super().__init__(
            f"{peer} takes the object, but for {days:g} days (give_up_after_days) has not proved "
            f"that it keeps it. Look whether it lies there, set commitment of [[peer]] {peer} to "
            "what it can, then `boneage jobs requeue --deliver-only`."
        )


class GivenUpError(PermanentError):
    """The destination was away for longer than we are told to wait."""

    code = "delivery.given_up"

    def __init__(self, *, peer: str, days: float) -> None:
        super().__init__(
            f"{peer} took nothing for {days:g} days (give_up_after_days). The result is kept. "
            "When the peer is back: `boneage jobs requeue --deliver-only`."
        )
