"""The audit trail: its seal, and the repository that it is handed on to."""

from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import clock, databases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.inquiries import AuditSubject
    from schemas.jobs import JobEvent
    from worker.operations.audit_feed import AuditFeed
    from worker.operations.audit_message import AuditSource
    from worker.operations.seal import AuditSeal
    from worker.queue.audit import AuditTrail


def audit_trail(config: Config) -> "AuditTrail":
    """Return the audit trail."""
    from worker.queue.audit import AuditTrail

    return AuditTrail(databases.engine(config), now=clock.utc_now)


def audit_seal(config: Config) -> "AuditSeal":
    """Return where the key and the anchor of the trail lie."""
    from worker.operations.seal import AuditSeal

    return AuditSeal(
        key_file=config.audit.key_file or config.storage.root / "audit.key",
        anchor=config.audit.anchor_file or config.storage.root / "audit.anchor",
    )


def audit_source(config: Config) -> "AuditSource":
    """Return how this installation names itself in audit messages."""
    from worker.operations.audit_message import AuditSource

    return AuditSource.here(config.listener.ae_title)


def audit_feed(config: Config) -> "AuditFeed":
    """Return what hands new events on to the audit repository."""
    from worker.operations.audit_feed import SPOOL_FOLDER, AuditFeed
    from worker.operations.syslog import SyslogSender

    return AuditFeed(
        audit_trail(config),
        folder=config.storage.root / SPOOL_FOLDER,
        source=audit_source(config),
        send=SyslogSender(section=config.audit.syslog).send,
    )


def send_to_repository(
    config: Config, events: "Iterable[tuple[JobEvent, AuditSubject | None]]"
) -> int:
    """Send these events to the audit repository now, beside what is sent by itself.

    Raises:
        AuditRepositoryAwayError: it did not take them all.
    """
    from worker.operations.audit_message import build_message
    from worker.operations.syslog import SyslogSender, syslog_line

    source = audit_source(config)
    lines = [
        syslog_line(build_message(event, subject, source=source), at=event.at, host=source.host)
        for event, subject in events
    ]
    SyslogSender(section=config.audit.syslog).send(lines)
    return len(lines)
