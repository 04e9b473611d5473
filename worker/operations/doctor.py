"""Everything that must be right before go-live, each as an examination of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, make_url

from models.release.manifest import read_manifest, verify_release
from schemas.config import Config, PeerSection
from schemas.releases import Phantom
from worker.health.checks import Health
from worker.health.graphics import graphics_cards
from worker.inference.estimate import ImageReader
from worker.operations.clocks import examine_clocks
from worker.operations.device import choose_device
from worker.operations.device_check import phantom_image
from worker.operations.doctor_disk import examine_disk
from worker.operations.doctor_ports import examine_ports
from worker.operations.findings import Examination, Finding, fail, ok, skipped, warn
from worker.operations.presence import running
from worker.operations.probing import Probe, names_of, probe, shortcomings
from worker.queue.database import check, require_current_schema

PEER_SECONDS: Final = 10.0  # for each step with a peer
_DEVICE_SECONDS: Final = 180.0  # torch and the networks from a cold disk
_SLOW_SECONDS: Final = 10.0  # one image; a queue of a busy morning would grow
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """What the doctor needs; ``app`` joins it."""

    config: Config
    open_engine: Callable[[], Engine]
    database_url: str
    release_folder: Callable[[], Path]
    open_reader: Callable[[str], ImageReader]  #: of a device; loads the networks
    health: Callable[[], Health]
    remember: Callable[[Probe], object]  #: what a peer accepts


def examinations(surgery: Surgery) -> tuple[Examination, ...]:
    """Return all that is looked at, in the order in which it is shown."""
    config = surgery.config
    devices = dict.fromkeys(config.inference.devices)
    return (
        Examination(what="database", look=lambda: _database(surgery), seconds=60),
        Examination(what="disk", look=lambda: examine_disk(config), seconds=60),
        Examination(what="release", look=lambda: _release(surgery), seconds=120),
        *(
            Examination(what=f"device {device}", look=_on(surgery, device), seconds=_DEVICE_SECONDS)
            for device in devices
        ),
        Examination(what="ports", look=lambda: examine_ports(config)),
        *(
            Examination(
                what=f"peer {peer.name}", look=_with(surgery, peer), seconds=4 * PEER_SECONDS
            )
            for peer in config.peer
        ),
        *(() if config.peer else (Examination(what="peers", look=_no_peers),)),
        Examination(what="clock", look=lambda: examine_clocks(config.storage.root)),
        Examination(what="notifications", look=lambda: _notifications(config)),
        Examination(what="worker", look=lambda: _worker(surgery)),
    )


def _database(surgery: Surgery) -> list[Finding]:
    address = make_url(surgery.database_url)
    kind = address.get_backend_name()
    if kind == "sqlite" and address.database and not Path(address.database).exists():
        return [ok("database", "SQLite; it is made at the first start")]
    engine = surgery.open_engine()
    try:
        require_current_schema(engine)
        problems = check(engine)
    finally:
        engine.dispose()
    if problems:
        mend = "Stop the worker and run `boneage db restore` with the newest back-up."
        return [fail("database", "; ".join(problems[:3]), mend)]
    return [ok("database", f"{kind}; sound, with the schema of this software")]


def _release(surgery: Surgery) -> list[Finding]:
    folder = surgery.release_folder()
    identity = verify_release(folder)
    manifest = read_manifest(folder)[0]
    told = f"{identity.name}, version {identity.version}; {len(manifest.members)} members, whole"
    terms = f"Weights: {identity.licence} Software: Apache-2.0. {manifest.intended_use}"
    return [ok("release", told), ok("terms", terms)]


def _on(surgery: Surgery, device: str) -> Callable[[], list[Finding]]:
    return lambda: _device(surgery, device)


def _device(surgery: Surgery, name: str) -> list[Finding]:
    """Read the phantom twice on a device: what it is, how fast, and whether the number is right."""
    device = choose_device(name, threads=surgery.config.inference.threads)
    phantom = read_manifest(surgery.release_folder())[0].phantom
    reader = surgery.open_reader(name)
    read_phantom(reader, phantom)  # the first warms up
    months, seconds = read_phantom(reader, phantom)
    return [
        *_described(name, device),
        _speed(name, seconds),
        _constancy(name, months, phantom),
    ]


def read_phantom(reader: ImageReader, phantom: Phantom) -> tuple[float, float]:
    """Return the bone age of the phantom in months, and how many seconds that took."""
    image = phantom_image(phantom)
    started = time.perf_counter()
    content = reader.read(image).content
    return content.estimates[0].age_months, time.perf_counter() - started


def _described(name: str, device: str) -> Iterator[Finding]:
    import torch  # noqa: PLC0415 - seconds

    what = f"device {name}"
    if device == "cpu":
        unused = graphics_cards() if name == "auto" else ()
        if unused:
            found = "there is a GPU, but PyTorch cannot use it; the CPU is used"
            mend = "Install PyTorch for this driver's CUDA, or mend the driver (`nvidia-smi`)."
            yield warn(what, found, mend)
        else:
            yield ok(what, f"CPU, {torch.get_num_threads()} threads")
        return
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    yield ok(
        what,
        f"{properties.name}, {free // _MIB} of {total // _MIB} MiB free, CUDA {torch.version.cuda}",
    )


def _speed(name: str, seconds: float) -> Finding:
    told = f"{seconds:.2f} s for one image, with its page"
    if seconds > _SLOW_SECONDS:
        return warn(f"speed {name}", told, "A GPU, more cores, or nothing else on this machine.")
    return ok(f"speed {name}", told)


def _constancy(name: str, found_months: float, phantom: Phantom) -> Finding:
    deviation = found_months - phantom.known_value_months
    told = (
        f"{found_months:.2f} months, known {phantom.known_value_months:.2f} "
        f"± {phantom.tolerance_months:.2f} (difference {deviation:+.3f})"
    )
    if abs(deviation) > phantom.tolerance_months:
        mend = "Do not go live: `boneage release verify`, then device and driver."
        return fail(f"phantom {name}", told, mend)
    return ok(f"phantom {name}", told)


def _no_peers() -> list[Finding]:
    mend = "Add a [[peer]] for your PACS to config.toml."
    return [fail("peers", "none is configured: nobody may send, and nobody gets results", mend)]


def _with(surgery: Surgery, peer: PeerSection) -> Callable[[], list[Finding]]:
    return lambda: _peer(surgery, peer)


def _peer(surgery: Surgery, peer: PeerSection) -> list[Finding]:
    what = f"peer {peer.name}"
    if not peer.destination:
        return [skipped(what, "it only sends to us; whether it can is seen when it does")]
    calling_ae = surgery.config.listener.ae_title
    found = probe(peer, calling_ae=calling_ae, timeout_seconds=PEER_SECONDS)
    surgery.remember(found)
    classes = "; ".join(f"{name}: {how}" for name, how in names_of(found).items())
    echoed = "not taken" if found.echo_status is None else f"0x{found.echo_status:04X}"
    told = f"C-ECHO {echoed} in {found.milliseconds:.0f} ms. {classes}"
    missing = shortcomings(peer, found)
    if missing:
        mend = (
            f"Let {peer.ae_title} accept these from {calling_ae}, or change its [[peer]] "
            "(objects, sr_classes, commitment)."
        )
        return [fail(what, f"It takes {', '.join(missing)}. {told}", mend)]
    if found.echo_status:
        return [warn(what, told, "Ask its vendor why it answers C-ECHO so.")]
    return [ok(what, told)]


def _notifications(config: Config) -> list[Finding]:
    told = [
        name
        for name, is_set in (
            ("webhook", bool(config.notify.webhook_url)),
            ("e-mail", bool(config.notify.email.host)),
        )
        if is_set
    ]
    if told:
        return [ok("notifications", f"by {' and '.join(told)}; `boneage notify test` tries them")]
    mend = "Fill [notify] in config.toml; or let Prometheus watch (deploy/prometheus)."
    return [warn("notifications", "nobody is told of what needs a person", mend)]


def _worker(surgery: Surgery) -> Sequence[Finding]:
    found = running(surgery.config.storage.root)
    if not found:
        return [skipped("worker", "none runs on this storage root and machine", "boneage serve")]
    told = ", ".join(f"{name} (process {pid})" for name, pid in found.items())
    health = surgery.health()
    checks = (*health.readiness(), *health.rounds(health.figures.snapshot()))
    wrong = {one.name: one.message for one in checks if not one.is_ok}
    if wrong:
        return [fail(f"worker, {name}", message, "As it says.") for name, message in wrong.items()]
    return [ok("worker", f"{told}; work goes round")]
