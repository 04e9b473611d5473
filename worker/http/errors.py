"""What can go wrong between a request and its answer, and the status that says so.

Every answer to an error is one JSON object: ``error``, a stable code, and ``message``, which says
what, why and how to mend it. No file name and nothing of a patient stands in it.
"""

from http import HTTPStatus
from pathlib import Path

from schemas.errors import (
    BoneAgeError,
    NoSuchJobError,
    PermanentError,
    TransientError,
    UnsuitableImageError,
    UsageError,
)


class MalformedRequestError(UsageError):
    """The request does not say what it must."""

    code = "http.bad_request"

    def __init__(self, *, problem: str, mend: str) -> None:
        super().__init__(f"{problem[:1].upper()}{problem[1:]}. Nothing was done. {mend}")


class NotAllowedError(UsageError):
    """The request has no token, or a wrong one."""

    code = "http.unauthorised"

    def __init__(self) -> None:
        super().__init__(
            "This needs the token of this installation. Nothing was shown. Send it as "
            "`Authorization: Bearer TOKEN`; it stands in the file that [http] token_file names."
        )


class UploadTooLargeError(UsageError):
    """More came than is taken."""

    code = "http.too_large"

    def __init__(self, *, found: str, limit: str) -> None:
        super().__init__(
            f"{found} is more than {limit}. Nothing was read. Send one radiograph of one hand; "
            "largest_upload_megabytes under [http.predict] allows larger files."
        )


class UnknownSexError(UsageError):
    """Nobody said whose hand it is, and the networks are not asked to guess."""

    code = "http.sex_unknown"

    def __init__(self) -> None:
        super().__init__(
            "The sex was not given, and without it there is no one bone age: by_sex holds both. "
            'Send the field sex with "female" or "male".'
        )


class BusyError(TransientError):
    """More images wait to be read than this process takes on."""

    code = "http.busy"

    def __init__(self) -> None:
        super().__init__(
            "Several images wait to be read here already. This one was not taken; send it again "
            "in a few seconds. For more than a few, send them by DICOM: the queue keeps them."
        )


class SlowUploadError(UsageError):
    """The request stopped half way."""

    code = "http.slow_upload"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            f"The upload was not complete after {seconds:.0f} seconds. Nothing was read. Look at "
            "the connection, then send it again."
        )


class PortTakenError(TransientError):
    """The address cannot be listened on."""

    code = "http.port"

    def __init__(self, *, host: str, port: int, problem: str) -> None:
        super().__init__(
            f"Cannot listen for HTTP on {host}, port {port} ({problem}). Nothing is served there. "
            "End what holds the port, or set [http] host and port."
        )


class TokenFileError(PermanentError):
    """The token that opens the job list cannot be used."""

    code = "http.token_file"

    def __init__(self, *, path: Path, found: str) -> None:
        super().__init__(
            f"The token in {path} {found}. HTTP was not started. Put a line of 20 or more letters "
            "and digits there, readable by this user alone; or remove the file: a new one is made."
        )


_STATUS = {
    MalformedRequestError: HTTPStatus.BAD_REQUEST,
    NotAllowedError: HTTPStatus.UNAUTHORIZED,
    NoSuchJobError: HTTPStatus.NOT_FOUND,
    SlowUploadError: HTTPStatus.REQUEST_TIMEOUT,
    UploadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsuitableImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSexError: HTTPStatus.UNPROCESSABLE_ENTITY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: BoneAgeError) -> HTTPStatus:
    """Return the status that tells a client whether to mend, to wait or to call somebody."""
    for family, status in _STATUS.items():
        if isinstance(error, family):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR
