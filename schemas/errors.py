"""The error families: the family of an error decides what happens next.

| family | meaning | next |
| --- | --- | --- |
| ``TransientError`` | waiting may help | the job goes back, later |
| ``UnsuitableImageError`` | wanted, but must not be read | a refusal is reported |
| ``PermanentError`` | the same input gives the same error | the job fails |
| anything else | a bug | the job fails, with its traceback |

Every class builds its own message from keyword arguments, says what, why and what to do, and
carries a short, stable ``code`` that stands in the audit trail, the metrics and the README.
"""

from schemas.refusals import RefusalReason


class BoneAgeError(Exception):
    """Anything that this product raises on purpose."""

    code: str = "error"


class TransientError(BoneAgeError):
    """Waiting may help: a PACS is away, a disk is full, a GPU is busy."""

    code = "transient"


class PermanentError(BoneAgeError):
    """The same input will give the same error."""

    code = "permanent"


class UnsuitableImageError(PermanentError):
    """This image must not be read: the result is a refusal with a coded reason."""

    def __init__(self, reason: RefusalReason, *, keyword: str, found: str, expected: str) -> None:
        """``found`` is a coded value or a number; never a name, an ID, a date or free text."""
        super().__init__(
            f"{keyword} is {found!r}, but only {expected} can be read. Nothing was predicted "
            f"({reason.value})."
        )
        self.reason = reason
        self.detail = f"{keyword}: {found}"  #: stands in the report beside the reason
        self.code = f"unsuitable.{reason.value}"


class DeviceError(TransientError):
    """The accelerator is in doubt: the job goes back, and the process ends to start afresh."""

    code = "inference.device"

    def __init__(self, *, fault: str) -> None:
        super().__init__(
            f"The device failed ({fault}). The job waits for its next attempt, and this process "
            "ends, because a device that failed once cannot be trusted before a restart. If it "
            'happens again, look at the driver\'s log or set devices = ["cpu"] under [inference].'
        )


class UsageError(BoneAgeError):
    """The caller asked for something that cannot be done: exit code 2 on the command line."""

    code = "usage"


class LeaseLostError(TransientError):
    """Somebody else holds this claim now; whatever was computed is thrown away."""

    code = "queue.lease_lost"

    def __init__(self, *, what: str, row_id: int) -> None:
        super().__init__(
            f"The claim on {what} {row_id} has passed to another worker, because its lease ran "
            "out. Nothing was written. If this happens often, raise lease_seconds."
        )


class IllegalMoveError(PermanentError):
    """A job was to move in a way that its life does not have."""

    code = "queue.illegal_move"

    def __init__(self, *, job_id: int, before: str, after: str) -> None:
        super().__init__(
            f"Job {job_id} is {before} and cannot become {after}. Look at it with "
            f"`boneage jobs show {job_id}`."
        )


class NoSuchJobError(UsageError):
    """There is no job with this number."""

    code = "queue.no_such_job"

    def __init__(self, *, job_id: int) -> None:
        super().__init__(f"There is no job {job_id}. `boneage jobs list` shows those there are.")


class NoSuchEventError(UsageError):
    """There is no event with this number."""

    code = "audit.no_such_event"

    def __init__(self, *, event_id: int) -> None:
        super().__init__(
            f"There is no event {event_id}. `boneage audit list` shows those there are; "
            "`boneage audit verify` says whether retention has removed it."
        )


class IsolatedJobError(PermanentError):
    """An image that ended too many workers is not read any more."""

    code = "queue.isolated"

    def __init__(self) -> None:
        super().__init__(
            "Two workers ended without a word while they held this job, or one at its last "
            "attempt: the image may be what ends them. Its pixels are left alone. Look at the log "
            "of the workers (memory, device, decoder); when the cause is mended, requeue the job."
        )


class UnknownDestinationError(PermanentError):
    """An object is owed to a peer that the settings no longer name."""

    code = "delivery.unknown_destination"

    def __init__(self, *, destination: str) -> None:
        super().__init__(
            f"No [[peer]] is called {destination!r} with destination = true any more, so nobody "
            "would ever send this object. Put the peer back and run `boneage jobs requeue "
            "--deliver-only`; or, to send it elsewhere, name the new destination in the settings "
            "and requeue the job."
        )


class SchemaMismatchError(PermanentError):
    """The database belongs to another version of this software, or is not made yet."""

    code = "database.schema"

    def __init__(self, *, found: str | None, expected: str) -> None:
        """``found`` is nothing where there are no tables of ours."""
        state = f"The database has schema {found}" if found else "There is no database of ours yet"
        super().__init__(
            f"{state}; this software needs {expected}. Nothing was changed. Run `boneage db "
            "upgrade`: it makes it, or backs it up first."
        )


class NetworkFileSystemError(PermanentError):
    """SQLite was to be opened where its locks cannot be trusted."""

    code = "database.network_file_system"

    def __init__(self, *, file_system: str) -> None:
        super().__init__(
            f"The database file would lie on a network file system ({file_system}), where SQLite's "
            "locks do not hold and rows can be lost. Nothing was opened. Set [storage] root to a "
            "local disk, or [database] url to PostgreSQL."
        )


class BackupUnsupportedError(UsageError):
    """We back up SQLite only; other databases bring their own tools."""

    code = "database.backup"

    def __init__(self, *, backend: str) -> None:
        super().__init__(
            f"The database is {backend}, which is backed up by its own tools. Nothing was written. "
            "Use pg_dump, or the backups of your database service."
        )


class DatabaseCorruptError(PermanentError):
    """The database file is not what SQLite wrote."""

    code = "database.corrupt"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"The database file is damaged ({found}). Nothing was written to it, and nothing is "
            "acknowledged. Stop the worker, keep the file, and run `boneage db restore FILE` with "
            "the newest of backups/; then check the disk."
        )


class DatabaseReadOnlyError(PermanentError):
    """The database cannot be written at all."""

    code = "database.read_only"

    def __init__(self) -> None:
        super().__init__(
            "The database cannot be written (read-only). Nothing was started, because nothing "
            "could be acknowledged. Look at the owner and the rights of the storage root and of "
            "boneage.sqlite, and whether the disk is mounted read-only."
        )


class BackupUnusableError(UsageError):
    """The file to restore from is no sound back-up of ours; nothing was changed."""

    code = "database.backup_unusable"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"This file cannot be restored: {found}. Nothing was changed. Choose another of "
            "backups/ (`boneage db backup` makes and checks them)."
        )


class NothingToDeliverError(UsageError):
    """A job was to be delivered again, but has no result that is owed to anybody."""

    code = "queue.nothing_to_deliver"

    def __init__(self, *, job_id: int) -> None:
        super().__init__(
            f"Job {job_id} has no result that is owed to a destination, so nothing can be sent "
            f"again. Estimate it again: `boneage jobs requeue {job_id} --reason ...`."
        )


class RemovedByRetentionError(UsageError):
    """What the job needs has been removed on schedule."""

    code = "queue.removed"

    def __init__(self, *, job_id: int, what: str) -> None:
        super().__init__(
            f"The {what} of job {job_id} was removed by retention, as [retention] says, so this "
            "cannot be done again. Have the image sent once more: the same bytes are read afresh "
            "after a requeue."
        )


class AuditBrokenError(PermanentError):
    """The trail does not reach the head that the anchor names: sealing would hide that."""

    code = "audit.broken"

    def __init__(self, *, position: int) -> None:
        super().__init__(
            f"The audit trail does not hold the seal {position} that the anchor file names. Either "
            "rows were removed, or an older database was restored. Nothing was sealed. Run "
            "`boneage audit verify`; after a restore that you know of, move the anchor file away."
        )


class AuditAnchorError(PermanentError):
    """The anchor file is not one that this key has sealed."""

    code = "audit.anchor"

    def __init__(self) -> None:
        super().__init__(
            "The anchor file of the audit trail is damaged, or was sealed with another key. "
            "Nothing was sealed. Put the key back that belongs to it; if the file itself is "
            "damaged, keep it as evidence, move it away and run `boneage audit verify`."
        )


class DatabaseUnavailableError(TransientError):
    """The database did not do what it was asked; nothing of that transaction was written."""

    code = "database.unavailable"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"The database cannot be used now ({found}). Nothing of this step was written; it is "
            "tried again. Look at the space and rights of the storage root, or at the database "
            "server and [database] url."
        )
