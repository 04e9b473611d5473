"""The one place that builds objects from ``Config``. Boring on purpose.

Imports stand inside the functions, so that each process loads what it needs and nothing else:
torch is loaded in `infer` and by `boneage estimate` alone.
"""

import getpass
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.config import Config, PeerSection
from schemas.errors import BoneAgeError
from schemas.jobs import RetryPolicy, Stage
from worker.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine
    from starlette.applications import Starlette
    from starlette.routing import Route

    from schemas.assessments import SiteProfile
    from schemas.estimates import ReleaseIdentity
    from schemas.inquiries import AuditSubject
    from schemas.jobs import JobEvent
    from worker.health.checks import Health
    from worker.health.constancy import Expected
    from worker.http.access import Token
    from worker.inference.estimate import ImageReader
    from worker.operations.audit_feed import AuditFeed
    from worker.operations.audit_message import AuditSource
    from worker.operations.constancy import ConstancyCheck
    from worker.operations.findings import Examination
    from worker.operations.probing import Probe
    from worker.operations.reloading import LiveSettings
    from worker.operations.retention import RetentionRound
    from worker.operations.schedule import PeriodicTask
    from worker.operations.seal import AuditSeal
    from worker.queue.audit import AuditTrail
    from worker.queue.jobs import JobQueue
    from worker.queue.outbox import Outbox
    from worker.queue.search import SearchIndex

RETRY_FACTOR = 2.0
SPOOL_CHECK_SECONDS = 600.0
OVERDUE_CHECK_SECONDS = 30.0
BACKUP_CHECK_SECONDS = 300.0
SEARCH_SECONDS = 5.0
RETENTION_SECONDS = 3600.0
REPOSITORY_SECONDS = 5.0
TRAIL_CHECK_SECONDS = 6 * 3600.0
CONSTANCY_CHECK_SECONDS = 60.0
LONGEST_INFERENCE_RETRY = timedelta(minutes=10)


def now() -> datetime:
    """Return the time of this host, aware, in its own zone (reports carry local time)."""
    return datetime.now().astimezone()


def software_version() -> str:
    """Return the version that stands in every object that we make."""
    return version("boneage-worker")


# the database and what stands in it


def database_url(config: Config) -> str:
    """Return the configured URL, or that of SQLite in the storage root."""
    from worker.queue.database import sqlite_url

    return config.database.url or sqlite_url(config.storage.root)


def backup_folder(config: Config) -> Path:
    """Return where back-ups of a SQLite database lie."""
    return config.storage.root / "backups"


def unchecked_engine(config: Config) -> "Engine":
    """Return an engine whose schema may be anything; for `boneage db`."""
    from worker.queue.database import open_engine

    return open_engine(database_url(config))


def engine(config: Config) -> "Engine":
    """Return an engine whose database has our schema.

    Raises:
        SchemaMismatchError: it has not; the message says what to run.
    """
    from worker.queue.database import require_current_schema

    opened = unchecked_engine(config)
    require_current_schema(opened)
    return opened


def prepare_database(config: Config) -> None:
    """Upgrade a SQLite database, after a back-up; require the right schema of any other.

    Raises:
        SchemaMismatchError: the database is newer, or is not SQLite and needs an upgrade.
        DatabaseReadOnlyError, DatabaseCorruptError: nothing could be acknowledged.
    """
    from worker.queue.database import require_current_schema, require_writable, upgrade

    opened = unchecked_engine(config)
    try:
        if opened.dialect.name == "sqlite":
            require_writable(opened)
            upgrade(opened, backup_folder=backup_folder(config))
        require_current_schema(opened)
    finally:
        opened.dispose()


def job_queue(config: Config, *, actor: str) -> "JobQueue":
    """Return the queue as ``actor`` works with it."""
    return _queue(config, engine(config), actor=actor, release=release(config).name)


def _queue(config: Config, opened: "Engine", *, actor: str, release: str) -> "JobQueue":
    from worker.queue.jobs import JobQueue

    return JobQueue(
        opened,
        now=_utc_now,
        actor=actor,
        release=release,
        retry=RetryPolicy(
            attempts=config.inference.attempts,
            first_delay=timedelta(seconds=config.inference.first_retry_seconds),
            factor=RETRY_FACTOR,
            longest_delay=LONGEST_INFERENCE_RETRY,
        ),
    )


def operator_queue(config: Config) -> "JobQueue":
    """Return the queue as the person at the keyboard works with it."""
    return job_queue(config, actor=operator())


def operator_desk(config: Config) -> "JobQueue":
    """Return the queue to look, requeue and cancel with: it receives nothing, and starts fast."""
    return _queue(config, engine(config), actor=operator(), release="")


def operator() -> str:
    """Return how the person at the keyboard stands in the audit trail."""
    return f"operator:{getpass.getuser()}"[:64]


def outbox(config: Config, *, actor: str) -> "Outbox":
    """Return the outbox as ``actor`` works with it."""
    from worker.queue.outbox import Outbox

    return Outbox(engine(config), now=_utc_now, actor=actor)


def search_index(config: Config) -> "SearchIndex":
    """Return what makes jobs findable by accession number and patient ID; its key is made once."""
    from worker.operations.seal import make_key_file
    from worker.operations.search import SEARCH_KEY_FILE
    from worker.queue.search import SearchIndex

    path = config.storage.root / SEARCH_KEY_FILE
    if not path.exists():
        make_key_file(path)
    return SearchIndex(engine(config), key=path.read_bytes(), now=_utc_now)


def index_images(config: Config) -> int:
    """Make every image findable that is not yet; return how many."""
    from worker.operations.search import read_terms

    root = config.storage.root
    return search_index(config).fill(lambda file, syntax: read_terms(root, file, syntax))


def retention_round(config: Config, *, actor: str) -> "RetentionRound":
    """Return what removes images, results and rows as [retention] says."""
    from worker.operations.retention import RetentionRound, policy_of
    from worker.queue.orphans import Orphans
    from worker.queue.retention import FileRetention
    from worker.queue.tombstones import RecordRetention

    opened, root, policy = engine(config), config.storage.root, policy_of(config.retention)
    return RetentionRound(
        files=FileRetention(opened, root=root, policy=policy, now=_utc_now, actor=actor),
        records=RecordRetention(
            opened,
            period=policy.records,
            is_exported=bool(config.audit.syslog.host),
            now=_utc_now,
            actor=actor,
        ),
        orphans=Orphans(opened, root=root, now=_utc_now, actor=actor),
        root=root,
        policy=policy,
        key=audit_seal(config).key,
    )


def remove_by_retention(config: Config, *, actor: str) -> int:
    """Do one round of retention; return how many jobs and orphans it removed something of."""
    report = retention_round(config, actor=actor).run()
    return report.jobs + report.records_of_jobs + report.orphan_files + report.orphan_folders


def audit_trail(config: Config) -> "AuditTrail":
    """Return the audit trail."""
    from worker.queue.audit import AuditTrail

    return AuditTrail(engine(config), now=_utc_now)


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


def audit_seal(config: Config) -> "AuditSeal":
    """Return where the key and the anchor of the trail lie."""
    from worker.operations.seal import AuditSeal

    return AuditSeal(
        key_file=config.audit.key_file or config.storage.root / "audit.key",
        anchor=config.audit.anchor_file or config.storage.root / "audit.anchor",
    )


# the release and the site profile


def release_folder(config: Config) -> Path:
    """Return the folder of the configured release, or of the newest that ships.

    Raises:
        NoSuchReleaseError: there is none.
    """
    from models.release.manifest import find_release, newest_release

    return find_release(config.inference.release or newest_release())


def release(config: Config) -> "ReleaseIdentity":
    """Return the identity of the release that reads new images; loads no weights."""
    from models.release.manifest import read_manifest

    return read_manifest(release_folder(config))[1]


def release_name(config: Config) -> str:
    """Return the name of the release that reads new images; empty where there is none."""
    try:
        return release(config).name
    except BoneAgeError:
        return ""


def site_profile(config: Config) -> "SiteProfile":
    """Return the site profile of the settings, or the built-in one.

    Raises:
        SiteProfileError: it cannot be used.
    """
    from schemas.site_profile import SiteProfileError, default_profile, parse_profile

    path = config.report.profile
    try:
        return default_profile() if path is None else parse_profile(path.read_bytes())
    except OSError as error:
        raise SiteProfileError(problem=f"it cannot be read ({error.strerror})") from error


# the processes


def run_process(
    config: Config,
    name: str,
    stop: threading.Event,
    *,
    load: Callable[[], Config],
    is_alone: bool = False,
) -> None:
    """Run one process, "listen", "deliver", "schedule" or "infer:DEVICE", until ``stop`` is set.

    ``load`` reads the settings anew at SIGHUP; a process that runs alone writes that into the
    audit trail, of several their supervisor does.
    """
    live = live_settings(config, load=load, is_audited=is_alone)
    live.reload_on_hangup()
    kind, _, device = name.partition(":")
    run: Callable[[LiveSettings, threading.Event, str], None] = {
        "listen": run_listener,
        "infer": run_inference,
        "deliver": run_deliverer,
        "schedule": run_schedule,
        "http": run_http,
    }[kind]
    run(live, stop, device)


def live_settings(
    config: Config, *, load: Callable[[], Config], is_audited: bool
) -> "LiveSettings":
    """Return settings whose peers and rules may change; one process of a worker audits that."""
    from worker.operations.reloading import LiveSettings

    return LiveSettings(config, load=load, audit=_audit_reload if is_audited else _no_audit)


def _no_audit(_before: Config, _after: Config | None) -> None:
    pass


def _audit_reload(before: Config, after: Config | None) -> None:
    """Write into the trail what came of a reload."""
    from worker.operations.reloading import needing_restart

    queue = _queue(before, engine(before), actor=_actor("serve"), release="")
    if after is None:
        why = "the new settings are wrong; the old ones hold"
        queue.record_event(event="settings_refused", reason=why, detail={})
        return
    queue.record_event(
        event="settings_reloaded",
        reason="SIGHUP",
        detail={
            "peers": len(after.peer),
            "rules": len(after.intake.rule),
            "needs_restart": ", ".join(needing_restart(before, after)),
        },
    )


def known_peers(config: Config) -> tuple[PeerSection, ...]:
    """Return the peers of the settings, and those of the constancy check."""
    from worker.operations.constancy import constancy_peer, selftest_peer

    return (*config.peer, constancy_peer(), selftest_peer())


def process_names(config: Config) -> tuple[str, ...]:
    """Return every process that these settings ask for."""
    devices = (f"infer:{device}" for device in config.inference.devices)
    http = ("http",) if config.http.enabled else ()
    return ("listen", *devices, "deliver", "schedule", *http)


def run_listener(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Receive until ``stop`` is set."""
    from worker.listener.process import run
    from worker.listener.scp import Listener
    from worker.listener.spool import Spool

    config = live.config
    queue = job_queue(config, actor=_actor("listen"))
    spool = Spool(config.storage)
    listener = Listener(config.listener, peers=known_peers(config), spool=spool, queue=queue)
    live.follow(lambda new: listener.follow(known_peers(new)))
    run(listener, stop=stop)


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
    watch = StepWatch(now=clock_of(engine(config), _utc_now))

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


def image_reader(config: Config, *, installation_id: str, device: str) -> "ImageReader":
    """Return what reads one image: release, site profile and clock joined. Loads torch."""
    from models.ensemble import load_estimator
    from worker.inference.estimate import ImageReader
    from worker.operations.device import choose_device

    return ImageReader(
        estimator=load_estimator(
            release_folder(config), device=choose_device(device, threads=config.inference.threads)
        ),
        profile=site_profile(config),
        installation_id=installation_id,
        software_version=software_version(),
        now=now,
    )


def run_inference(live: "LiveSettings", stop: threading.Event, device: str) -> None:
    """Estimate until ``stop`` is set."""
    from worker.inference.worker import InferencePolicy, InferenceWorker
    from worker.operations.constancy import constancy_rules
    from worker.queue.database import installation_id

    config = live.config
    reader = image_reader(config, installation_id=installation_id(engine(config)), device=device)
    log.info("inference.ready", device=device, release=release(config).name)
    queue = job_queue(config, actor=_actor(f"infer:{device}"))
    for current, over in live.turns(stop):
        policy = InferencePolicy(
            rules=(*constancy_rules(current.peer), *current.intake.rule),
            peers=known_peers(current),
            lease=timedelta(seconds=config.inference.lease_seconds),
            poll_seconds=config.inference.poll_seconds,
            deadline=timedelta(seconds=config.inference.deadline_seconds),
            refusals=config.report.refusals,
            report_technical_failures=config.report.report_technical_failures,
        )
        InferenceWorker(queue, reader, root=config.storage.root, policy=policy).run(over)


def run_deliverer(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Deliver until ``stop`` is set."""
    from worker.delivery.deliverer import Deliverer
    from worker.delivery.objects import ResultFiles
    from worker.operations.constancy_sink import ConstancySink
    from worker.reporting.structured_report import build_structured_report

    config = live.config
    box = outbox(config, actor=_actor("deliver"))
    with ConstancySink() as sink:
        for current, over in live.turns(stop):
            Deliverer(
                box,
                peers=(*current.peer, sink.peer),
                ae_title=config.listener.ae_title,
                files=ResultFiles(config.storage.root, build=build_structured_report),
                section=config.delivery,
                now=_utc_now,
            ).run(over)


def run_schedule(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Do what is due every so often until ``stop`` is set."""
    from worker.operations.schedule import PeriodicTask, Schedule
    from worker.queue.backups import back_up_when_due
    from worker.queue.leadership import Leadership
    from worker.queue.periodic import PeriodicRuns

    config, actor = live.config, _actor("schedule")
    seal, queue, trail = audit_seal(config), job_queue(config, actor=actor), audit_trail(config)
    seal.make_key()
    Schedule(
        [
            PeriodicTask(
                name="rescue",
                seconds=config.schedule.rescue_seconds,
                work=rescuing(config, queue),
            ),
            PeriodicTask(
                name="overdue",
                seconds=OVERDUE_CHECK_SECONDS,
                work=lambda: call_overdue(config, queue),
            ),
            PeriodicTask(
                name="spool",
                seconds=SPOOL_CHECK_SECONDS,
                work=lambda: recover_spool(config, queue),
                is_due_at_start=True,
            ),
            PeriodicTask(
                name="backup",
                seconds=BACKUP_CHECK_SECONDS,
                work=lambda: back_up_when_due(
                    engine(config),
                    backup_folder(config),
                    every=timedelta(hours=config.schedule.backup_hours),
                    keep=config.schedule.backups_kept,
                    now=_utc_now,
                ),
            ),
            PeriodicTask(
                name="seal",
                seconds=config.schedule.seal_seconds,
                work=lambda: trail.seal(seal.key(), seal.anchor),
            ),
            PeriodicTask(name="search", seconds=SEARCH_SECONDS, work=lambda: index_images(config)),
            PeriodicTask(
                name="retention",
                seconds=RETENTION_SECONDS,
                work=lambda: remove_by_retention(config, actor=actor),
            ),
            *_handing_on_tasks(config),
            *_watching_tasks(live, queue),
        ],
        leadership=Leadership(engine(config), now=_utc_now, name="schedule", holder=actor),
        note=PeriodicRuns(engine(config), now=_utc_now).note,
    ).run(stop)


def _handing_on_tasks(config: Config) -> "list[PeriodicTask]":
    """Return what hands sealed events on, where a repository wants them."""
    from worker.operations.schedule import PeriodicTask

    if not config.audit.syslog.host:
        return []
    feed = audit_feed(config)
    return [PeriodicTask(name="syslog", seconds=REPOSITORY_SECONDS, work=feed.hand_on)]


def _watching_tasks(live: "LiveSettings", queue: "JobQueue") -> "list[PeriodicTask]":
    """Return what looks whether all is well: echoes, the phantom, the trail, and the news of it."""
    from worker.health.troubles import Patience
    from worker.operations.channels import channels_of
    from worker.operations.schedule import PeriodicTask
    from worker.operations.watching import Watch
    from worker.queue.echoes import Echoes
    from worker.queue.notices import Notices

    config, opened = live.config, engine(live.config)
    trail, seal = audit_trail(config), audit_seal(config)
    watch = Watch(
        health=health(config, opened),
        echoes=Echoes(opened, now=_utc_now),
        notices=Notices(opened, now=_utc_now),
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
        check = constancy_check(config, queue)
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


def constancy_check(config: Config, queue: "JobQueue") -> "ConstancyCheck":
    """Return what sends the phantom on its way.

    Raises:
        NoSuchReleaseError: there is no release, so no phantom.
    """
    from worker.listener.spool import Spool
    from worker.operations.constancy import ConstancyCheck

    return ConstancyCheck(
        spool=Spool(config.storage),
        queue=queue,
        phantom=expected_phantom(config).phantom,
        called_ae=config.listener.ae_title,
        now=now,
    )


def expected_phantom(config: Config) -> "Expected":
    """Return what the release that reads new images must say about its phantom.

    Raises:
        NoSuchReleaseError: there is none.
    """
    from models.release.manifest import read_manifest
    from worker.health.constancy import Expected

    manifest, identity = read_manifest(release_folder(config))
    return Expected(phantom=manifest.phantom, release_digest=identity.digest)


def health(config: Config, opened: "Engine") -> "Health":
    """Return what says whether this worker is well; asks the database anew each time."""
    from functools import cache

    from worker.health.checks import Health
    from worker.health.constancy import Constancy
    from worker.queue.database import require_current_schema
    from worker.queue.figures import Figures

    stalled_after = timedelta(minutes=config.http.stalled_after_minutes)
    return Health(
        figures=Figures(opened, now=_utc_now),
        require_schema=lambda: require_current_schema(opened),
        storage=config.storage,
        stalled_after=stalled_after,
        constancy=Constancy(
            expected=cache(lambda: expected_phantom(config)), stalled_after=stalled_after
        ),
    )


def phantom_deviation(config: Config, name: str) -> float:
    """Return by how many months a release reads its phantom older than it must; loads torch.

    Raises:
        NoSuchReleaseError, UnsuitableImageError: it does not read it at all.
    """
    from models.release.manifest import read_manifest
    from worker.operations.doctor import read_phantom

    chosen = config.model_copy(
        update={"inference": config.inference.model_copy(update={"release": name})}
    )
    phantom = read_manifest(release_folder(chosen))[0].phantom
    reader = image_reader(chosen, installation_id="release", device="cpu")
    return read_phantom(reader, phantom)[0] - phantom.known_value_months


def note_release(config: Config, *, before: str, after: str, reason: str) -> None:
    """Write into the trail who changed the release; before the first start there is none."""
    try:
        desk = operator_desk(config)
    except BoneAgeError:
        return
    desk.record_event(
        event="release_chosen", reason=reason, detail={"before": before, "after": after}
    )


def examinations(config: Config) -> "tuple[Examination, ...]":
    """Return all that `boneage doctor` looks at."""
    from worker.operations.doctor import Surgery, examinations

    return examinations(
        Surgery(
            config=config,
            open_engine=lambda: unchecked_engine(config),
            database_url=database_url(config),
            release_folder=lambda: release_folder(config),
            open_reader=lambda device: image_reader(
                config, installation_id="doctor", device=device
            ),
            health=lambda: health(config, engine(config)),
            remember=lambda found: remember_probe(config, found),
        )
    )


def remember_probe(config: Config, found: "Probe") -> bool:
    """Keep what a peer accepts, if there is a database to keep it in; say whether there is."""
    from worker.queue.outbox import Outbox

    try:
        opened = engine(config)
    except BoneAgeError:
        return False
    box = Outbox(opened, now=_utc_now, actor=operator())
    for uid, how in found.accepted.items():
        box.remember_peer(found.peer, sop_class_uid=uid, is_accepted=bool(how))
    return True


def run_http(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Serve health, metrics, the status page and the job list until ``stop`` is set."""
    from worker.http.server import HttpServer

    section = live.config.http
    application = http_application(live.config, peers=lambda: live.config.peer)
    HttpServer(application, host=section.host, port=section.port).run(stop)


def http_application(
    config: Config, *, peers: "Callable[[], Sequence[PeerSection]] | None" = None
) -> "Starlette":
    """Return what the process `http` serves; it comes up, and says so, when the database is away.

    ``peers`` are those now in force; without it, those of ``config``.

    Raises:
        TokenFileError: the token of the job list cannot be used.
    """
    from worker.http.access import TOKEN_FILE, read_or_make_token
    from worker.http.application import build_application
    from worker.http.health import health_routes
    from worker.http.jobs import job_routes
    from worker.http.metrics import Metrics, metrics_routes
    from worker.http.pages import Pages
    from worker.http.status import StatusPage, status_routes
    from worker.operations.records import event_record, job_record

    opened = unchecked_engine(config)
    well = health(config, opened)
    queue = _queue(config, opened, actor=_actor("http"), release="")
    token = read_or_make_token(config.http.token_file or config.storage.root / TOKEN_FILE)
    status = StatusPage(
        health=well,
        queue=queue,
        peers=peers or (lambda: config.peer),
        pages=Pages(),
        version=software_version(),
        release=lambda: release_name(config),
        now=now,
    )
    metrics = Metrics(
        well,
        storage=config.storage,
        version=software_version(),
        release=lambda: release_name(config),
    )
    return build_application(
        [
            *health_routes(well),
            *metrics_routes(metrics),
            *status_routes(status),
            *job_routes(queue, token, describe_job=job_record, describe_event=event_record),
            *(_upload_routes(config, token, opened) if config.http.predict.enabled else ()),
        ]
    )


def _upload_routes(config: Config, token: "Token", opened: "Engine") -> "list[Route]":
    """Return what reads images by HTTP; torch is loaded when the first one comes."""
    from worker.http.pages import Pages
    from worker.http.predict import predict_routes
    from worker.http.predictor import Predictor
    from worker.http.upload import UploadPage, upload_routes
    from worker.queue.database import installation_id

    section = config.http.predict

    def load() -> "ImageReader":
        identity = installation_id(opened)
        return image_reader(config, installation_id=identity, device=section.device)

    predictor = Predictor(load, now=now)
    asked = token if section.require_token else None
    limit = section.largest_upload_megabytes
    page = UploadPage(pages=Pages(), predictor=predictor, token=asked, limit_megabytes=limit)
    routes = predict_routes(predictor, asked, limit_megabytes=limit, version=software_version())
    return [*routes, *upload_routes(page)]


def _actor(process: str) -> str:
    return f"{process}@{socket.gethostname()}:{os.getpid()}"[:64]


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)
