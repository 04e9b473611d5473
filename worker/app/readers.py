"""What reads images: the only module here that loads torch, and only when called."""

from typing import TYPE_CHECKING

from schemas.config import Config
from schemas.estimates import Estimator
from worker.app import clock, identities, releases
from worker.logs import log

if TYPE_CHECKING:
    from worker.inference.estimate import ImageReader


def images_at_once(config: Config, *, device: str) -> int:
    """Return how many images a process on this device has in hand. May load torch.

    Raises:
        NoSuchDeviceError: it is not there.
    """
    inference = config.inference
    if inference.images_at_once:
        return inference.images_at_once
    from worker.operations.device import IMAGES_AT_ONCE_ON_A_GPU, choose_device

    is_cpu = choose_device(device, threads=inference.threads) == "cpu"
    return 1 if is_cpu else IMAGES_AT_ONCE_ON_A_GPU


def image_reader(
    config: Config, *, installation_id: str, device: str, is_shared: bool = False
) -> "ImageReader":
    """Return what reads one image: release, site profile and clock joined. Loads torch.

    ``is_shared``: for several threads, whose images the networks read in batches.
    """
    from models.lean import load_timm_without_compiler

    load_timm_without_compiler()
    from models.engines.choice import choose_engine
    from models.ensemble import load_estimator
    from worker.inference.batches import Batches
    from worker.inference.estimate import ImageReader
    from worker.inference.memory import keep_freed_memory
    from worker.operations.device import choose_device, processor_threads

    keep_freed_memory()
    plain = load_estimator(
        releases.release_folder(config),
        device=choose_device(device, threads=config.inference.threads),
    )
    ensemble, chosen = choose_engine(plain, config.inference.engine, threads=processor_threads())
    estimator: Estimator = Batches(ensemble) if is_shared else ensemble
    log.info("readers.engine", name=chosen.engine.value, reason=chosen.reason)
    return ImageReader(
        estimator=estimator,
        profile=releases.site_profile(config),
        installation_id=installation_id,
        software_version=identities.software_version(),
        now=clock.now,
    )


def phantom_deviation(config: Config, name: str) -> float:
    """Return by how many months a release reads its phantom older than it must; loads torch.

    Raises:
        NoSuchReleaseError, UnsuitableImageError: it does not read it at all.
    """
    from models.release.manifest import read_manifest
    from worker.operations.device_check import phantom_months

    chosen = config.model_copy(
        update={"inference": config.inference.model_copy(update={"release": name})}
    )
    phantom = read_manifest(releases.release_folder(chosen))[0].phantom
    reader = image_reader(chosen, installation_id="release", device="cpu")
    return phantom_months(reader, phantom) - phantom.known_value_months
