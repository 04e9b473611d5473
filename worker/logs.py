"""Logs are events with keys, and the keys are on a list.

Three back doors are shut here: pydicom's warnings quote the offending value, a traceback with
local variables quotes everything, and a foreign exception's text may quote anything it met.
"""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import TextIO, cast

import structlog

#: All that may stand in a log line. None of them can name a patient: no UID, no path, no text
#: from a header. A new key is added here, after asking what it could hold on the worst day.
ALLOWED_KEYS = frozenset(
    {
        # what structlog adds
        "event",
        "level",
        "timestamp",
        "process",
        # which unit of work
        "job_id",
        "outbox_id",
        "event_id",
        "attempt",
        "revision",
        "kind",
        "release",
        "device",
        # what happened
        "code",
        "reason",
        "state",
        "outcome",
        "receipt",
        "status",
        "family",
        "errno",
        "exit_code",
        "signal",
        "pid",
        "name",
        "version",
        "library",
        "category",
        "where",
        "traceback",
        "dropped_keys",
        # with whom: names from config.toml and AE titles
        "peer",
        "destination",
        "calling_ae",
        "called_ae",
        "host",
        "port",
        "sop_class",
        "transfer_syntax",
        # how much, how long
        "count",
        "size_bytes",
        "seconds",
        "milliseconds",
        "delay_seconds",
        "percent",
    }
)

#: Libraries that speak to DICOM log what they meet, values included: they are silent.
SILENT_LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "pylibjpeg", "openjpeg", "gdcm", "PIL")

Event = MutableMapping[str, object]

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class ForbiddenLogKeyError(AssertionError):
    """A log line carries a key that is not on the list: a bug, found by the tests."""

    def __init__(self, keys: Iterable[str]) -> None:
        super().__init__(
            f"{', '.join(sorted(keys))} may not be logged, because a key outside the list could "
            "name a patient. Log the job_id instead, or add the key to ALLOWED_KEYS with care."
        )


class OnlyAllowedKeys:
    """Let only listed keys reach the log: loud in tests, silent removal in production."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """Return ``event`` with listed keys alone."""
        unknown = event.keys() - ALLOWED_KEYS
        if unknown and self._strict:
            raise ForbiddenLogKeyError(unknown)
        for key in unknown:
            del event[key]
        if unknown:
            event["dropped_keys"] = len(unknown)
        return event


def replace_exception(_logger: object, _method: str, event: Event) -> Event:
    """Turn ``exc_info`` into type, code and places; never into what the exception says.

    Our own errors stand in full in the audit trail and in `boneage jobs show`; the text of a
    foreign one may quote a value, and is nowhere repeated.
    """
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if isinstance(given, tuple):
        error = given[1]
    if error is None:
        return event
    event.setdefault("category", type(error).__qualname__)
    if isinstance(error, OSError) and error.errno is not None:
        event.setdefault("errno", error.errno)
    event.setdefault("traceback", places_of(error))
    return event


def places_of(error: BaseException) -> list[str]:
    """Return ``file:line function`` for each frame and the type of each cause, outermost first."""
    places: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(link.__traceback__, limit=-25)
        ]
        places = [*frames, type(link).__qualname__, *places]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return places


def configure_logging(
    *,
    level: str = "info",
    json_lines: bool = False,
    strict: bool = False,
    process: str = "",
    stream: TextIO | None = None,
) -> None:
    """Set the log up for this process: where it goes, from which level, and what may be in it.

    Args:
        level: "debug", "info", "warning" or "error".
        json_lines: one JSON object a line instead of text.
        strict: raise at a key that is not on the list; for tests.
        process: stands in every line, "listen", "infer:cpu" …; empty: no such key.
        stream: standard error unless another is given.
    """
    target = stream if stream is not None else sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[
            cast("structlog.typing.Processor", _Origin(process)),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            cast("structlog.typing.Processor", replace_exception),
            cast("structlog.typing.Processor", OnlyAllowedKeys(strict=strict)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )


class _Origin:
    """Names the process in every line, in all of its threads."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        if self._process:
            event.setdefault("process", self._process)
        return event


def silence_libraries() -> None:
    """Shut the other ways to standard error: foreign loggers, warnings and uncaught exceptions.

    For a process of ours, from its first line to its last; not for a test run.
    """
    for name in SILENT_LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = [logging.NullHandler()]
        library.propagate = False
        library.setLevel(logging.CRITICAL + 1)
    root = logging.getLogger()
    root.handlers = [_NameOnly(level=logging.WARNING)]
    warnings.showwarning = _note_warning
    sys.excepthook = _note_uncaught
    threading.excepthook = _note_thread


class _NameOnly(logging.Handler):
    """Says that a library had something to say, and which; its words may quote a value."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("logs.library_spoke", library=record.name, where=f"{record.module}")


def _note_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line
    log.debug("logs.warning", category=category.__name__, where=f"{filename}:{lineno}")


def _note_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    del trace
    if issubclass(kind, KeyboardInterrupt):
        return
    log.error("logs.uncaught", exc_info=error)


def _note_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        log.error("logs.uncaught", exc_info=arguments.exc_value)
