"""The process `http` and what it serves."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.config import Config, PeerSection
from worker.app import clock, databases, health, identities, queues, readers, releases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from starlette.applications import Starlette
    from starlette.routing import Route

    from worker.http.access import Token
    from worker.inference.estimate import ImageReader
    from worker.operations.reloading import LiveSettings


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
    from worker.http.gauges import Gauges
    from worker.http.health import health_routes
    from worker.http.jobs import job_routes
    from worker.http.metrics import Metrics, metrics_routes
    from worker.http.pages import Pages
    from worker.http.status import StatusPage, status_routes
    from worker.operations.records import event_record, job_record

    opened = databases.unchecked_engine(config)
    well = health.health(config, opened)
    queue = queues.queue_on(config, opened, actor=identities.process_actor("http"), release="")
    token = read_or_make_token(config.http.token_file or config.storage.root / TOKEN_FILE)
    status = StatusPage(
        health=well,
        queue=queue,
        peers=peers or (lambda: config.peer),
        pages=Pages(),
        version=identities.software_version(),
        release=lambda: releases.release_name(config),
        now=clock.now,
    )
    gauges = Gauges(
        well,
        config.storage,
        version=identities.software_version(),
        release=lambda: releases.release_name(config),
    )
    return build_application(
        [
            *health_routes(well),
            *metrics_routes(Metrics(well, gauges)),
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
        return readers.image_reader(config, installation_id=identity, device=section.device)

    predictor = Predictor(load, now=clock.now)
    asked = token if section.require_token else None
    limit = section.largest_upload_megabytes
    page = UploadPage(pages=Pages(), predictor=predictor, token=asked, limit_megabytes=limit)
    routes = predict_routes(
        predictor, asked, limit_megabytes=limit, version=identities.software_version()
    )
    return [*routes, *upload_routes(page)]
