"""What only the operator's commands need."""

from typing import TYPE_CHECKING

from schemas.config import Config
from schemas.errors import BoneAgeError
from worker.app import clock, databases, health, identities, queues, readers, releases

if TYPE_CHECKING:
    from worker.operations.findings import Examination
    from worker.operations.probing import Probe


def examinations(config: Config) -> "tuple[Examination, ...]":
    """Return all that `boneage doctor` looks at."""
    from worker.operations.doctor import Surgery, examinations

    return examinations(
        Surgery(
            config=config,
            open_engine=lambda: databases.unchecked_engine(config),
            database_url=databases.database_url(config),
            release_folder=lambda: releases.release_folder(config),
            open_reader=lambda device: readers.image_reader(
                config, installation_id="doctor", device=device
            ),
            health=lambda: health.health(config, databases.engine(config)),
            remember=lambda found: remember_probe(config, found),
        )
    )


def remember_probe(config: Config, found: "Probe") -> bool:
    """Keep what a peer accepts, if there is a database to keep it in; say whether there is."""
    from worker.queue.outbox import Outbox

    try:
        opened = databases.engine(config)
    except BoneAgeError:
        return False
    box = Outbox(opened, now=clock.utc_now, actor=identities.operator())
    for uid, how in found.accepted.items():
        box.remember_peer(found.peer, sop_class_uid=uid, is_accepted=bool(how))
    return True


def note_release(config: Config, *, before: str, after: str, reason: str) -> None:
    """Write into the trail who changed the release; before the first start there is none."""
    try:
        desk = queues.operator_desk(config)
    except BoneAgeError:
        return
    desk.record_event(
        event="release_chosen", reason=reason, detail={"before": before, "after": after}
    )
