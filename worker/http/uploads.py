"""Forms with a file, read into memory: nothing of an image that comes here touches a disk."""

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Final

import anyio
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from worker.http.errors import MalformedRequestError, SlowUploadError, UploadTooLargeError

MEGABYTE: Final = 1024 * 1024
_UPLOAD_SECONDS: Final = 60.0
_MOST_FIELDS: Final = 8
_FIELD_BYTES: Final = 4096
#: what comes too much is read and dropped up to so many times the limit: a client that still sends
#: when the connection is cut never sees the answer
_DRAINED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One file and the fields beside it."""

    file: bytes
    fields: dict[str, str]


class _InMemoryParser(MultiPartParser):
    """Never spools to a disk; the size of the whole request is limited before."""

    spool_max_size = 1 << 40


async def read_form(request: Request, *, limit_megabytes: int, known: Collection[str]) -> Form:
    """Return the form; its file is the field ``file``.

    Args:
        request: what came.
        limit_megabytes: of the whole request.
        known: fields beside the file.

    Raises:
        MalformedRequestError: it is no such form.
        UploadTooLargeError: more came than the limit.
        SlowUploadError: it did not come to its end in time.
    """
    body = _LimitedBody(request, limit=limit_megabytes * MEGABYTE)
    parser = _InMemoryParser(
        request.headers,
        body.chunks(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_FIELD_BYTES,
    )
    try:
        with anyio.fail_after(_UPLOAD_SECONDS):
            parts = await parser.parse()
    except (MultiPartException, FormParserError, ClientDisconnect, UnicodeError, KeyError):
        # KeyError: there is no Content-Type, or no boundary in it
        body.require_modest()
        raise MalformedRequestError(
            problem="the request is no multipart form with one file",
            mend="Send multipart/form-data with the image in the field file.",
        ) from None
    except TimeoutError:
        raise SlowUploadError(seconds=_UPLOAD_SECONDS) from None
    try:
        return await _form(parts, known=known)
    finally:
        await parts.close()


class _LimitedBody:
    """The body of a request, up to a limit; what comes beyond is dropped."""

    def __init__(self, request: Request, *, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._size = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield what comes.

        Raises:
            MultiPartException: it was too much; in the parser's own words, for then it tidies up.
        """
        async for chunk in self._request.stream():
            self._size += len(chunk)
            if self._size > _DRAINED * self._limit:
                break
            if self._size <= self._limit:
                yield chunk
        if self._size > self._limit:
            raise MultiPartException("too large")

    def require_modest(self) -> None:
        """Return if all that came was within the limit.

        Raises:
            UploadTooLargeError: it was more.
        """
        if self._size > self._limit:
            found = f"The request of {self._size / MEGABYTE:.1f} MB or more"
            raise UploadTooLargeError(found=found, limit=f"{self._limit // MEGABYTE} MB")


async def _form(parts: FormData, *, known: Collection[str]) -> Form:
    items = parts.multi_items()
    fields = [(name, part) for name, part in items if isinstance(part, str)]
    content = await _only_file([(name, part) for name, part in items if not isinstance(part, str)])
    _require_known(fields, known)
    return Form(file=content, fields=dict(fields))


async def _only_file(uploads: list[tuple[str, UploadFile]]) -> bytes:
    content = b""
    if [name for name, _ in uploads] == ["file"]:
        content = await uploads[0][1].read()
    if not content:
        raise MalformedRequestError(
            problem="there is no image in the field file",
            mend="Send one image: PNG, JPEG, WebP, TIFF or DICOM.",
        )
    return content


def _require_known(fields: list[tuple[str, str]], known: Collection[str]) -> None:
    names = [name for name, _ in fields]
    if set(names) <= set(known) and len(names) == len(set(names)):
        return
    raise MalformedRequestError(
        problem="a field is not known, or is there twice",
        mend=f"Known: file, {', '.join(sorted(known))}.",
    )
