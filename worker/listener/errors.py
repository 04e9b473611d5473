"""Why an object was not taken, each with the DIMSE status that the sender sees."""

from pathlib import Path

from schemas.errors import BoneAgeError, PermanentError, TransientError

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1
DATASET_DOES_NOT_MATCH = 0xA900  # PS3.4 table B.2-1
CANNOT_UNDERSTAND = 0xC000  # PS3.4 table B.2-1
CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 annex C.5
NOT_AUTHORISED = 0x0124  # PS3.7 annex C.5
PROCESSING_FAILURE = 0x0110  # PS3.7 annex C.5


class StoreRefusedError(BoneAgeError):
    """Nothing was kept, and the sender is told so."""

    status: int = PROCESSING_FAILURE
    comment: str = "Not stored"  #: Error Comment (0000,0902): at most 64 characters, no value
    is_audited: bool = True


class NoRoomError(StoreRefusedError, TransientError):
    """The disk is at its high mark; it is taken again below the low mark."""

    code = "receive.no_room"
    status = OUT_OF_RESOURCES
    comment = "Disk is full: send again later"
    is_audited = False  # the audit trail is on the same disk

    def __init__(self) -> None:
        super().__init__(
            "The disk of the storage root is above storage.high_mark_percent, so nothing is taken "
            "until it is below low_mark_percent. Free some space; the sender may send again."
        )


class SpoolWriteError(StoreRefusedError, TransientError):
    """The disk would not take the object."""

    code = "receive.disk"
    status = OUT_OF_RESOURCES
    comment = "Could not write to disk: send again later"
    is_audited = False  # the audit trail is on the same disk

    def __init__(self, *, errno: int | None) -> None:
        super().__init__(
            f"The spool could not be written (errno {errno}). Look at space, rights and mount of "
            "the storage root; the sender may send again."
        )


class QueueWriteError(StoreRefusedError, TransientError):
    """The object is on disk, but its job could not be committed."""

    code = "receive.database"
    status = OUT_OF_RESOURCES
    comment = "Could not write to the database: send again later"
    is_audited = False  # by the same database

    def __init__(self) -> None:
        super().__init__(
            "The job table could not be written, so the sender was told to try again. See the "
            "traceback above this line, and `boneage doctor`."
        )


class TooSlowError(TransientError):
    """A sender began an object and did not finish it in time; its association was ended."""

    code = "receive.too_slow"

    def __init__(self) -> None:
        super().__init__(
            "The object did not arrive whole before listener.message_timeout_seconds or "
            "network_timeout_seconds. Nothing of it was kept or acknowledged; the sender still "
            "has it. Look at the network between the two, or raise the limit."
        )


class TooLargeError(StoreRefusedError, TransientError):
    """The object is larger than allowed."""

    code = "receive.too_large"
    status = OUT_OF_RESOURCES
    comment = "Object is larger than this receiver allows"

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(
            f"The object has more than {limit_bytes} bytes. If such objects should be taken, "
            "raise listener.largest_file_megabytes."
        )


class UnreadableDatasetError(StoreRefusedError, PermanentError):
    """The bytes are no data set in the negotiated transfer syntax."""

    code = "receive.unreadable"
    status = CANNOT_UNDERSTAND
    comment = "Data set cannot be parsed"

    def __init__(self, *, what: str) -> None:
        """``what`` names the place in the structure; never a value."""
        super().__init__(
            f"The data set cannot be parsed: {what}. It was not kept. Ask the sender whether it "
            "announced another transfer syntax than it sent, or cut the object off."
        )


class MismatchError(StoreRefusedError, PermanentError):
    """The data set is not the object that the request announced."""

    code = "receive.mismatch"
    status = DATASET_DOES_NOT_MATCH

    def __init__(self, *, keyword: str, found: str) -> None:
        """``found`` is "absent", "malformed" or "other"; never the value."""
        super().__init__(
            f"{keyword} of the data set is {found}, so it is not the object that the request "
            "announced. It was not kept. Ask the sender to repair the object."
        )
        self.comment = f"{keyword} is {found}"


class WrongClassError(StoreRefusedError, PermanentError):
    """The request names another SOP class than its presentation context."""

    code = "receive.wrong_class"
    status = CLASS_NOT_SUPPORTED
    comment = "SOP class is not that of the presentation context"

    def __init__(self) -> None:
        super().__init__(
            "The request names another SOP class than its presentation context. It was not kept. "
            "Ask the sender to propose a context for each SOP class."
        )


class ForeignReportError(StoreRefusedError, PermanentError):
    """A structured report that is none of ours."""

    code = "receive.foreign_report"
    status = CLASS_NOT_SUPPORTED
    comment = "Only our own structured reports are taken back"

    def __init__(self) -> None:
        super().__init__(
            "The object is a structured report that this worker did not make. It was not kept. "
            "Let the sender's rule route radiographs alone."
        )


class NotASenderError(StoreRefusedError, PermanentError):
    """A peer that may report to us, or is called by us, sent an image."""

    code = "receive.not_a_sender"
    status = NOT_AUTHORISED
    comment = "Not allowed to send to this receiver"
    is_audited = False  # a peer that goes on and on must not fill the database

    def __init__(self) -> None:
        super().__init__(
            "The peer is configured with sender = false, so its image was not kept. If it should "
            "send images, set sender = true for its [[peer]]."
        )


class AssociationRefusedError(BoneAgeError):
    """A peer is not let in, and is told so if it speaks DICOM."""

    #: result, source, reason of A-ASSOCIATE-RJ (PS3.8 table 9-21)
    answer: tuple[int, int, int] = (0x02, 0x01, 0x01)  # transient, by the user, no reason given


class CalledAeRefusedError(AssociationRefusedError, PermanentError):
    """The peer asked for somebody else."""

    code = "association.called_ae"
    answer = (0x01, 0x01, 0x07)  # called AE title not recognised

    def __init__(self) -> None:
        super().__init__(
            "The peer called another AE title than [listener] ae_title. It was not let in. Mend "
            "the entry for this worker at the peer."
        )


class CallingAeRefusedError(AssociationRefusedError, PermanentError):
    """Nobody of this name may send."""

    code = "association.calling_ae"
    answer = (0x01, 0x01, 0x03)  # calling AE title not recognised

    def __init__(self) -> None:
        super().__init__(
            "The calling AE title is not that of a [[peer]] with sender = true. It was not let "
            "in. If it should be, add or mend its [[peer]]."
        )


class AddressRefusedError(AssociationRefusedError, PermanentError):
    """The name is right, but it comes from elsewhere."""

    code = "association.address"
    answer = (0x01, 0x01, 0x03)  # calling AE title not recognised: from there

    def __init__(self) -> None:
        super().__init__(
            "The calling AE title is known, but not from this address. It was not let in. If the "
            "peer has moved, mend `addresses` of its [[peer]]; if not, somebody uses its name."
        )


class CertificateRefusedError(AssociationRefusedError, PermanentError):
    """The certificate belongs to somebody else."""

    code = "association.certificate"
    answer = (0x01, 0x01, 0x03)  # calling AE title not recognised: not with this certificate

    def __init__(self) -> None:
        super().__init__(
            "Neither the common name nor a DNS name of the certificate is the calling AE title. It "
            "was not let in. Give the sender a certificate of its own, or turn match_ae_title off."
        )


class HandshakeError(AssociationRefusedError, TransientError):
    """No TLS was agreed, so nothing in DICOM could be said."""

    code = "association.handshake"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"A peer on the port for TLS did not agree on it: {found}. It was not let in. Look at "
            "its certificate and its authorities, and whether it speaks TLS 1.2 or 1.3 at all."
        )
        self.found = found


class TooManyAssociationsError(AssociationRefusedError, TransientError):
    """There is no place now."""

    code = "association.limit"
    answer = (0x02, 0x03, 0x02)  # transient: local limit exceeded

    def __init__(self, *, setting: str) -> None:
        super().__init__(
            f"As many associations are open as listener.{setting} allows. The peer was asked to "
            "come back. If it happens often, raise the limit, or look for a sender that hangs."
        )
        self.setting = setting


class ListeningPortError(TransientError):
    """A port for DICOM cannot be listened on."""

    code = "listener.port"

    def __init__(self, *, host: str, port: int, problem: str, section: str) -> None:
        """``section`` is the part of the settings that names the port."""
        super().__init__(
            f"Cannot listen for DICOM on {host}, port {port} ({problem}). Nothing is received "
            f"there. End what holds the port, or set [{section}] port; the host is [listener] host."
        )


class RootTakenError(TransientError):
    """Another listener receives into this storage root."""

    code = "listener.root_taken"

    def __init__(self, *, root: Path) -> None:
        super().__init__(
            f"Another listener receives into {root}, on this machine or on another that shares it. "
            "Nothing is received here: at its start a listener removes what another one has half "
            "received. End that one, or give this one a [storage] root of its own."
        )


class UntestedLibraryError(PermanentError):
    """The listener reaches into pynetdicom and was made for another version of it."""

    code = "listener.library"

    def __init__(self, *, found: str, expected: str) -> None:
        super().__init__(
            f"pynetdicom is {found}, but the listener guards its sockets and files in a way that "
            f"was tested with {expected} alone. Install that version."
        )
