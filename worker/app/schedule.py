"""The process `schedule`: what is due every so often."""

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import audit, clock, databases, health, identities, queues, retention, search

if TYPE_CHECKING:
    from worker.operations.reloading import LiveSettings
    from worker.operations.schedule import PeriodicTask
    from worker.queue.jobs import JobQueue

SPOOL_CHECK_SECONDS = 600.0
OVERDUE_CHECK_SECONDS = 30.0
BACKUP_CHECK_SECONDS = 300.0
SEARCH_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
REPOSITORY_SECONDS = 5.0
TRAIL_CHECK_SECONDS = 6 * 3600.0
CONSTANCY_CHECK_SECONDS = 60.0
TOTALS_SECONDS = 300.0


def run_schedule(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Do what is due every so often until ``stop`` is set."""
    from worker.operations.schedule import PeriodicTask, Schedule
    from worker.queue.backups import back_up_when_due
    from worker.queue.leadership import Leadership
    from worker.queue.periodic import PeriodicRuns

    config, actor = live.config, identities.process_actor("schedule")
    seal, queue = audit.audit_seal(config), queues.job_queue(config, actor=actor)
    trail = audit.audit_trail(config)
    seal.make_key()
    opened = databases.engine(config)  # one for all: each engine keeps connections of its own
    periodic = PeriodicRuns(opened, now=clock.utc_now)
    periodic.forget_devices_but(config.inference.devices)
    Schedule(
        [
            PeriodicTask(
                name="rescue",
                seconds=config.schedule.rescue_seconds,
                work=queues.rescuing(config, queue),
            ),
            PeriodicTask(
                name="overdue",
                seconds=OVERDUE_CHECK_SECONDS,
                work=lambda: queues.call_overdue(config, queue),
            ),
            PeriodicTask(
                name="spool",
                seconds=SPOOL_CHECK_SECONDS,
                work=lambda: queues.recover_spool(config, queue),
                is_due_at_start=True,
            ),
            PeriodicTask(
                name="backup",
                seconds=BACKUP_CHECK_SECONDS,
                work=lambda: back_up_when_due(
                    opened,
                    databases.backup_folder(config),
                    every=timedelta(hours=config.schedule.backup_hours),
                    keep=config.schedule.backups_kept,
                    now=clock.utc_now,
                ),
            ),
            PeriodicTask(
                name="seal",
                seconds=config.schedule.seal_seconds,
                work=lambda: trail.seal(seal.key(), seal.anchor),
            ),
            PeriodicTask(
                name="search",
                seconds=SEARCH_SECONDS,
                work=lambda: search.index_images(config, opened),
            ),
            PeriodicTask(
                name="retention",
                seconds=RETENTION_SECONDS,
                work=retention.removing(config, actor=actor),
            ),
            PeriodicTask(
                name="totals",
                seconds=TOTALS_SECONDS,
                work=lambda: queues.remember_totals(opened),
                is_due_at_start=True,
            ),
            *_handing_on_tasks(config),
            *_watching_tasks(live, queue),
        ],
        leadership=Leadership(opened, now=clock.utc_now, name="schedule", holder=actor),
        note=periodic.note,
    ).run(stop)


def _handing_on_tasks(config: Config) -> "list[PeriodicTask]":
    """Return what hands sealed events on, where a repository wants them."""
    from worker.operations.schedule import PeriodicTask

    if not config.audit.syslog.host:
        return []
    feed = audit.audit_feed(config)
    return [PeriodicTask(name="syslog", seconds=REPOSITORY_SECONDS, work=feed.hand_on)]


def _watching_tasks(live: "LiveSettings", queue: "JobQueue") -> "list[PeriodicTask]":
    """Return what looks whether all is well: echoes, the phantom, the trail, and the news of it."""
    from worker.health.troubles import Patience
    from worker.operations.channels import channels_of
    from worker.operations.schedule import PeriodicTask
    from worker.operations.watching import Watch
    from worker.queue.echoes import Echoes
    from worker.queue.notices import Notices

    config, opened = live.config, databases.engine(live.config)
    trail, seal = audit.audit_trail(config), audit.audit_seal(config)
    watch = Watch(
        health=health.health(config, opened),
        echoes=Echoes(opened, now=clock.utc_now),
        notices=Notices(opened, now=clock.utc_now),
        channels=channels_of(config.notify),
        patience=Patience(
            destination_down=timedelta(minutes=config.notify.destination_down_minutes),
            drift_months=config.notify.drift_months,
        ),
    )
    every = timedelta(hours=config.schedule.constancy_hours)
    tasks = [
        PeriodicTask(
            name="echo",
            seconds=config.schedule.echo_seconds,
            work=lambda: watch.ask_destinations(
                live.config.peer, calling_ae=config.listener.ae_title
            ),
        ),
        PeriodicTask(
            name="verify",
            seconds=TRAIL_CHECK_SECONDS,
            work=lambda: watch.verify(lambda: trail.verify(seal.key(), seal.anchor)),
        ),
    ]
    if every:
        check = health.constancy_check(config, queue)
        tasks.append(
            PeriodicTask(
                name="constancy",
                seconds=CONSTANCY_CHECK_SECONDS,
                work=lambda: watch.send_phantom_when_due(check, every=every),
            )
        )
    if watch.channels:
        tasks.append(
            PeriodicTask(
                name="notify",
                seconds=config.notify.collect_seconds,
                work=lambda: watch.tell(remind_after=timedelta(hours=config.notify.remind_hours)),
            )
        )
    return tasks
