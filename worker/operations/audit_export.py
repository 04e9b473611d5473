"""Events of the trail as lines of text for somebody else."""

import csv
import io
import json
from collections.abc import Iterable, Iterator

from schemas.audit import ExportForm
from schemas.inquiries import AuditSubject
from schemas.jobs import JobEvent
from worker.operations.audit_message import AuditSource, build_message
from worker.operations.records import event_record

Told = tuple[JobEvent, AuditSubject | None]


def written(events: Iterable[Told], form: ExportForm, *, source: AuditSource) -> Iterator[str]:
    """Yield one line for each event; before CSV, one with the names of the columns."""
    match form:
        case ExportForm.CSV:
            yield from _as_csv(events)
        case ExportForm.JSON:
            for event, _subject in events:
                yield json.dumps(event_record(event), ensure_ascii=False) + "\n"
        case ExportForm.DICOM:
            for event, subject in events:
                yield build_message(event, subject, source=source).decode() + "\n"


def _as_csv(events: Iterable[Told]) -> Iterator[str]:
    columns: list[str] = []
    for event, _subject in events:
        record = event_record(event)
        record["detail"] = json.dumps(record["detail"], ensure_ascii=False)
        if not columns:
            columns = list(record)
            yield _row(columns)
        yield _row([record[name] for name in columns])


def _row(values: Iterable[object]) -> str:
    """Return one line of CSV (RFC 4180); what a spreadsheet would reckon is shown as text."""
    text = io.StringIO()
    cells = ["" if value is None else str(value) for value in values]
    safe = [f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in cells]
    csv.writer(text).writerow(safe)
    return text.getvalue()
