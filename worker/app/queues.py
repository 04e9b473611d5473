"""The queue and the outbox, and what the schedule does about jobs left lying."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from schemas.config import Config
from schemas.jobs import RetryPolicy, Stage
from worker.app import clock, databases, identities, releases
from worker.logs import log

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.queue.jobs import JobQueue
    from worker.queue.lookup import JobLookup
    from worker.queue.outbox import Outbox

RETRY_FACTOR = 2.0
LONGEST_INFERENCE_RETRY = timedelta(minutes=10)


def job_queue(config: Config, *, actor: str) -> "JobQueue":
    """Return the queue as ``actor`` works with it."""
    return queue_on(
        config, databases.engine(config), actor=actor, release=releases.release(config).name
    )


def operator_queue(config: Config) -> "JobQueue":
    """Return the queue as the person at the keyboard works with it."""
    return job_queue(config, actor=identities.operator())


def operator_desk(config: Config) -> "JobQueue":
    """Return the queue to requeue and cancel with: it receives nothing, and starts fast."""
    return queue_on(config, databases.engine(config), actor=identities.operator(), release="")


def job_lookup(config: Config) -> "JobLookup":
    """Return what shows jobs, and loads nothing that moves one."""
    from worker.queue.lookup import JobLookup

    return JobLookup(databases.engine(config))


def queue_on(config: Config, opened: "Engine", *, actor: str, release: str) -> "JobQueue":
    """Return the queue on an engine that is open already; ``release`` is what it receives for."""
    from worker.queue.jobs import JobQueue

    return JobQueue(
        opened,
        now=clock.utc_now,
        actor=actor,
        release=release,
        retry=RetryPolicy(
            attempts=config.inference.attempts,
            first_delay=timedelta(seconds=config.inference.first_retry_seconds),
            factor=RETRY_FACTOR,
            longest_delay=LONGEST_INFERENCE_RETRY,
        ),
    )


def outbox(config: Config, *, actor: str) -> "Outbox":
    """Return the outbox as ``actor`` works with it."""
    from worker.queue.outbox import Outbox

    return Outbox(databases.engine(config), now=clock.utc_now, actor=actor)


def recover_spool(config: Config, queue: "JobQueue") -> int:
    """Give every kept image that no row names its job; return how many."""
    from worker.listener.recovery import recover
    from worker.listener.spool import Spool

    return recover(Spool(config.storage), queue)


def rescuing(config: Config, queue: "JobQueue") -> Callable[[], int]:
    """Return what takes back from the dead; when the clock was set forward, it waits a lease."""
    from worker.queue.database import clock_of
    from worker.queue.rescue import StepWatch

    longest_lease = timedelta(
        seconds=max(config.inference.lease_seconds, config.delivery.lease_seconds)
    )
    longest_wait = timedelta(seconds=config.delivery.longest_retry_seconds)
    watch = StepWatch(now=clock_of(databases.engine(config), clock.utc_now))

    def rescue() -> int:
        if not watch.is_trusted(lease=longest_lease):
            log.warning("rescue.clock_set_forward")
            return 0
        return queue.rescue(longest_lease=longest_lease, longest_wait=longest_wait)

    return rescue


def call_overdue(config: Config, queue: "JobQueue") -> int:
    """Say of every job that has just become overdue that it is; return how many."""
    found = queue.call_overdue(
        {
            Stage.ESTIMATE: timedelta(minutes=config.schedule.estimate_overdue_minutes),
            Stage.DELIVER: timedelta(minutes=config.schedule.deliver_overdue_minutes),
        }
    )
    for one in found:
        log.error(
            "job.overdue",
            job_id=one.job_id,
            kind=one.stage.value,
            seconds=round(one.waits.total_seconds()),
        )
    return len(found)


def remember_totals(opened: "Engine") -> int:
    """Write down how many jobs have come to rest; return 0, for it is no news."""
    from worker.queue import totals

    totals.remember_totals(opened, now=clock.utc_now)
    return 0
