"""What removes images, results and rows when their time is up."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import audit, clock, databases, search

if TYPE_CHECKING:
    from worker.operations.retention import RetentionRound


def retention_round(config: Config, *, actor: str) -> "RetentionRound":
    """Return what removes images, results and rows as [retention] says."""
    from worker.inference.former import fingerprint_of_file
    from worker.operations.retention import RetentionRound, policy_of
    from worker.queue.orphans import Orphans
    from worker.queue.retention import FileRetention
    from worker.queue.tombstones import RecordRetention

    opened, root, policy = (
        databases.engine(config),
        config.storage.root,
        policy_of(config.retention),
    )
    return RetentionRound(
        files=FileRetention(
            opened,
            root=root,
            policy=policy,
            now=clock.utc_now,
            fingerprint=fingerprint_of_file(search.search_key(config)),
            actor=actor,
        ),
        records=RecordRetention(
            opened,
            period=policy.records,
            is_exported=bool(config.audit.syslog.host),
            now=clock.utc_now,
            actor=actor,
        ),
        orphans=Orphans(opened, root=root, now=clock.utc_now, actor=actor),
        root=root,
        policy=policy,
        key=audit.audit_seal(config).key,
    )


def removing(config: Config, *, actor: str) -> Callable[[], int]:
    """Return what does one round of retention, and says from how many jobs and orphans it took."""
    round_of = retention_round(config, actor=actor)

    def remove() -> int:
        report = round_of.run()
        return report.jobs + report.records_of_jobs + report.orphan_files + report.orphan_folders

    return remove
