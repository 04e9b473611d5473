"""The processes of a worker, and the settings that they live by."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from schemas.config import Config, PeerSection
from worker.app import (
    clock,
    databases,
    health,
    identities,
    queues,
    readers,
    releases,
    schedule,
    search,
    web,
)
from worker.lean import load_without, loading
from worker.logs import log

if TYPE_CHECKING:
    from worker.operations.lives import LifeTrail
    from worker.operations.reloading import LiveSettings


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
        "schedule": schedule.run_schedule,
        "http": web.run_http,
    }[kind]
    run(live, stop, device)


def process_names(config: Config) -> tuple[str, ...]:
    """Return every process that these settings ask for."""
    devices = (f"infer:{device}" for device in config.inference.devices)
    http = ("http",) if config.http.enabled else ()
    return ("listen", *devices, "deliver", "schedule", *http)


def live_settings(
    config: Config, *, load: Callable[[], Config], is_audited: bool
) -> "LiveSettings":
    """Return settings whose peers and rules may change; one process of a worker audits that."""
    from worker.operations.reloading import LiveSettings

    return LiveSettings(config, load=load, audit=_audit_reload if is_audited else _no_audit)


def life_trail(config: Config, name: str, *, is_supervised: bool) -> "LifeTrail":
    """Return what writes into the trail that the process ``name`` began, and that it ended."""
    from worker.operations.lives import LifeTrail

    def record(*, event: str, reason: str, detail: dict[str, str]) -> None:
        opened = databases.engine(config)
        try:
            actor = identities.process_actor(name)
            queue = queues.queue_on(config, opened, actor=actor, release="")
            queue.record_event(event=event, reason=reason, detail=detail)
        finally:
            opened.dispose()

    launcher = identities.launcher(is_supervised=is_supervised)
    return LifeTrail(record, launcher=launcher, now=clock.now)


def _no_audit(_before: Config, _after: Config | None) -> None:
    pass


def _audit_reload(before: Config, after: Config | None) -> None:
    """Write into the trail what came of a reload."""
    from worker.operations.reloading import needing_restart

    queue = queues.queue_on(
        before, databases.engine(before), actor=identities.process_actor("serve"), release=""
    )
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
    from worker.operations.constancy_peers import constancy_peer, selftest_peer

    return (*config.peer, constancy_peer(), selftest_peer())


def run_listener(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Receive until ``stop`` is set."""
    from worker.listener.lean import load_pydicom_without_pixels

    load_pydicom_without_pixels()
    from worker.listener.process import run
    from worker.listener.scp import Listener
    from worker.listener.spool import Spool

    config = live.config
    queue = queues.job_queue(config, actor=identities.process_actor("listen"))
    spool = Spool(config.storage)
    listener = Listener(config.listener, peers=known_peers(config), spool=spool, queue=queue)
    live.follow(lambda new: listener.follow(known_peers(new)))
    run(listener, stop=stop)


def run_inference(live: "LiveSettings", stop: threading.Event, device: str) -> None:
    """Estimate until ``stop`` is set."""
    with loading():
        load_without("pydicom", hidden=("requests",))  # fetches test files of its own
        from worker.inference.worker import InferencePolicy, InferenceWorker
        from worker.operations.constancy_peers import constancy_rules
        from worker.queue.database import installation_id

        config, opened = live.config, databases.engine(live.config)
        at_once = readers.images_at_once(config, device=device)
        reader = readers.image_reader(
            config, installation_id=installation_id(opened), device=device, is_shared=at_once > 1
        )
    name = releases.release(config).name
    log.info("inference.ready", device=device, release=name, count=at_once)
    queue = queues.job_queue(config, actor=identities.process_actor(f"infer:{device}"))
    check = health.device_check(config, opened, reader=reader, device=device)
    for current, over in live.turns(stop):
        if not check.run_when_due():
            with check.ending(over):
                over.wait()
            continue
        policy = InferencePolicy(
            rules=(*constancy_rules(current.peer), *current.intake.rule),
            peers=known_peers(current),
            lease=timedelta(seconds=config.inference.lease_seconds),
            poll_seconds=config.inference.poll_seconds,
            deadline=timedelta(seconds=config.inference.deadline_seconds),
            refusals=config.report.refusals,
            report_technical_failures=config.report.report_technical_failures,
            fingerprint_key=_fingerprint_key(config),
            images_at_once=at_once,
        )
        with check.ending(over):
            InferenceWorker(queue, reader, root=config.storage.root, policy=policy).run(over)


def _fingerprint_key(config: Config) -> bytes:
    """Return the key of what retention keeps of images; without it they look changed."""
    try:
        return search.search_key(config)
    except OSError as error:
        log.warning("search.key_unreadable", errno=error.errno)
        return b""


def run_deliverer(live: "LiveSettings", stop: threading.Event, _device: str) -> None:
    """Deliver until ``stop`` is set."""
    from worker.delivery.deliverer import Deliverer
    from worker.delivery.objects import ResultFiles
    from worker.operations.constancy_sink import ConstancySink
    from worker.reporting.structured_report import build_structured_report

    config = live.config
    box = queues.outbox(config, actor=identities.process_actor("deliver"))
    with ConstancySink() as sink:
        for current, over in live.turns(stop):
            Deliverer(
                box,
                peers=(*current.peer, sink.peer),
                ae_title=config.listener.ae_title,
                files=ResultFiles(config.storage.root, build=build_structured_report),
                section=config.delivery,
                now=clock.utc_now,
            ).run(over)
