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

from schemas.config import Config
from schemas.errors import BoneAgeError
from schemas.jobs import RetryPolicy
from worker.logs import log

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.applications import Starlette
    from starlette.routing import Route

    from schemas.assessments import SiteProfile
    from schemas.estimates import ReleaseIdentity
    from worker.http.access import Token
    from worker.inference.estimate import ImageReader
    from worker.operations.seal import AuditSeal
    from worker.queue.audit import AuditTrail
    from worker.queue.jobs import JobQueue
    from worker.queue.outbox import Outbox
    from worker.queue.search import SearchIndex

RETRY_FACTOR = 2.0
SPOOL_CHECK_SECONDS = 600.0
BACKUP_CHECK_SECONDS = 300.0
SEARCH_SECONDS = 5.0
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


def audit_trail(config: Config) -> "AuditTrail":
    """Return the audit trail."""
    from worker.queue.audit import AuditTrail

    return AuditTrail(engine(config), now=_utc_now)


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


def run_process(config: Config, name: str, stop: threading.Event) -> None:
    """Run one process, "listen", "deliver", "schedule" or "infer:DEVICE", until ``stop`` is set."""
    kind, _, device = name.partition(":")
    run: Callable[[Config, threading.Event, str], None] = {
        "listen": run_listener,
        "infer": run_inference,
        "deliver": run_deliverer,
        "schedule": run_schedule,
        "http": run_http,
    }[kind]
    run(config, stop, device)


def process_names(config: Config) -> tuple[str, ...]:
    """Return every process that these settings ask for."""
    devices = (f"infer:{device}" for device in config.inference.devices)
    http = ("http",) if config.http.enabled else ()
    return ("listen", *devices, "deliver", "schedule", *http)


def run_listener(config: Config, stop: threading.Event, _device: str) -> None:
    """Receive until ``stop`` is set."""
    from worker.listener.process import run
    from worker.listener.scp import Listener
    from worker.listener.spool import Spool

    queue = job_queue(config, actor=_actor("listen"))
    spool = Spool(config.storage)
    run(Listener(config.listener, peers=config.peer, spool=spool, queue=queue), stop=stop)


def recover_spool(config: Config, queue: "JobQueue") -> int:
    """Give every kept image that no row names its job; return how many."""
    from worker.listener.recovery import recover
    from worker.listener.spool import Spool

    return recover(Spool(config.storage), queue)


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


def run_inference(config: Config, stop: threading.Event, device: str) -> None:
    """Estimate until ``stop`` is set."""
    from worker.inference.worker import InferencePolicy, InferenceWorker
    from worker.queue.database import installation_id

    reader = image_reader(config, installation_id=installation_id(engine(config)), device=device)
    log.info("inference.ready", device=device, release=release(config).name)
    InferenceWorker(
        job_queue(config, actor=_actor(f"infer:{device}")),
        reader,
        root=config.storage.root,
        policy=InferencePolicy(
            rules=config.intake.rule,
            peers=config.peer,
            lease=timedelta(seconds=config.inference.lease_seconds),
            poll_seconds=config.inference.poll_seconds,
            refusals=config.report.refusals,
            report_technical_failures=config.report.report_technical_failures,
        ),
    ).run(stop)


def run_deliverer(config: Config, stop: threading.Event, _device: str) -> None:
    """Deliver until ``stop`` is set."""
    from worker.delivery.deliverer import Deliverer
    from worker.delivery.objects import ResultFiles
    from worker.reporting.structured_report import build_structured_report

    Deliverer(
        outbox(config, actor=_actor("deliver")),
        peers=config.peer,
        ae_title=config.listener.ae_title,
        files=ResultFiles(config.storage.root, build=build_structured_report),
        section=config.delivery,
        now=_utc_now,
    ).run(stop)


def run_schedule(config: Config, stop: threading.Event, _device: str) -> None:
    """Rescue and seal until ``stop`` is set."""
    from worker.operations.schedule import PeriodicTask, Schedule
    from worker.queue.backups import back_up_when_due
    from worker.queue.leadership import Leadership
    from worker.queue.periodic import PeriodicRuns

    actor = _actor("schedule")
    seal, queue, trail = audit_seal(config), job_queue(config, actor=actor), audit_trail(config)
    seal.make_key()
    Schedule(
        [
            PeriodicTask(
                name="rescue",
                seconds=config.schedule.rescue_seconds,
                work=lambda: queue.rescue(
                    longest_lease=timedelta(
                        seconds=max(config.inference.lease_seconds, config.delivery.lease_seconds)
                    ),
                    longest_wait=timedelta(seconds=config.delivery.longest_retry_seconds),
                ),
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
        ],
        leadership=Leadership(engine(config), now=_utc_now, name="schedule", holder=actor),
        note=PeriodicRuns(engine(config), now=_utc_now).note,
    ).run(stop)


def run_http(config: Config, stop: threading.Event, _device: str) -> None:
    """Serve health, metrics, the status page and the job list until ``stop`` is set."""
    from worker.http.server import HttpServer

    section = config.http
    HttpServer(http_application(config), host=section.host, port=section.port).run(stop)


def http_application(config: Config) -> "Starlette":
    """Return what the process `http` serves; it comes up, and says so, when the database is away.

    Raises:
        TokenFileError: the token of the job list cannot be used.
    """
    from worker.health.checks import Health
    from worker.http.access import TOKEN_FILE, read_or_make_token
    from worker.http.application import build_application
    from worker.http.health import health_routes
    from worker.http.jobs import job_routes
    from worker.http.metrics import Metrics, metrics_routes
    from worker.http.pages import Pages
    from worker.http.status import StatusPage, status_routes
    from worker.operations.records import event_record, job_record
    from worker.queue.database import require_current_schema
    from worker.queue.figures import Figures

    opened = unchecked_engine(config)
    figures = Figures(opened, now=_utc_now)
    queue = _queue(config, opened, actor=_actor("http"), release="")
    token = read_or_make_token(config.http.token_file or config.storage.root / TOKEN_FILE)
    health = Health(
        figures=figures,
        require_schema=lambda: require_current_schema(opened),
        storage=config.storage,
        stalled_after=timedelta(minutes=config.http.stalled_after_minutes),
    )
    status = StatusPage(
        health=health,
        queue=queue,
        peers=config.peer,
        pages=Pages(),
        version=software_version(),
        release=lambda: release_name(config),
        now=now,
    )
    metrics = Metrics(
        figures,
        storage=config.storage,
        version=software_version(),
        release=lambda: release_name(config),
    )
    return build_application(
        [
            *health_routes(health),
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
