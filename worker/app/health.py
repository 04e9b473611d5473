"""What says whether this worker is well, and the phantom that proves it."""

from datetime import timedelta
from typing import TYPE_CHECKING

from schemas.config import Config
from worker.app import clock, identities, queues, releases

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.health.checks import Health
    from worker.health.constancy import Expected
    from worker.inference.estimate import ImageReader
    from worker.operations.constancy import ConstancyCheck
    from worker.operations.device_check import DeviceCheck
    from worker.queue.jobs import JobQueue


def health(config: Config, opened: "Engine") -> "Health":
    """Return what says whether this worker is well; asks the database anew each time."""
    from functools import cache

    from worker.health.checks import Health
    from worker.health.constancy import Constancy
    from worker.queue.database import require_current_schema
    from worker.queue.figures import Figures

    stalled_after = timedelta(minutes=config.http.stalled_after_minutes)
    return Health(
        figures=Figures(opened, now=clock.utc_now),
        require_schema=lambda: require_current_schema(opened),
        storage=config.storage,
        stalled_after=stalled_after,
        constancy=Constancy(
            expected=cache(lambda: expected_phantom(config)), stalled_after=stalled_after
        ),
    )


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
        now=clock.now,
    )


def device_check(
    config: Config, opened: "Engine", *, reader: "ImageReader", device: str
) -> "DeviceCheck":
    """Return what asks one device for the phantom, as often as the constancy check goes round.

    Raises:
        NoSuchReleaseError: there is no release, so no phantom.
    """
    from worker.operations.device_check import DeviceCheck
    from worker.queue.periodic import PeriodicRuns

    actor = identities.process_actor(f"infer:{device}")
    return DeviceCheck(
        reader=reader,
        phantom=expected_phantom(config).phantom,
        device=device,
        every=timedelta(hours=config.schedule.constancy_hours),
        note=PeriodicRuns(opened, now=clock.utc_now).note,
        record=queues.queue_on(config, opened, actor=actor, release="").record_event,
    )


def expected_phantom(config: Config) -> "Expected":
    """Return what the release that reads new images must say about its phantom.

    Raises:
        NoSuchReleaseError: there is none.
    """
    from models.release.manifest import read_manifest
    from worker.health.constancy import Expected

    manifest, identity = read_manifest(releases.release_folder(config))
    return Expected(phantom=manifest.phantom, release_digest=identity.digest)
