"""What the schedule does to know whether all is well, and to tell those who must know."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from schemas.config import PeerSection
from schemas.errors import BoneAgeError, PermanentError
from schemas.notices import Trouble
from worker.health.checks import Health
from worker.health.troubles import Patience, troubles
from worker.health.verdict import Check
from worker.operations.channels import Channel
from worker.operations.constancy import ConstancyCheck, is_due
from worker.operations.notifying import Notifier
from worker.operations.peer import echo
from worker.queue.echoes import Echoes
from worker.queue.notices import Notices

_ECHO_SECONDS = 10.0
_AT_ONCE = 8


class TrailNotSoundError(PermanentError):
    """The audit trail is not what was sealed."""

    code = "audit.not_sound"

    def __init__(self, *, count: int) -> None:
        super().__init__(
            f"The audit trail has {count} problems: rows were changed, removed or added by another "
            "way than ours. Run `boneage audit verify`, which names them; keep database, anchor "
            "and back-ups as they are."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The watching jobs of the schedule."""

    health: Health
    echoes: Echoes
    notices: Notices
    channels: Sequence[Channel]
    patience: Patience

    def ask_destinations(self, peers: Sequence[PeerSection], *, calling_ae: str) -> int:
        """Ask every destination by C-ECHO, and write the answers down."""
        asked = [peer for peer in peers if peer.destination]
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            found = list(pool.map(lambda peer: _why_down(peer, calling_ae=calling_ae), asked))
        for peer, why in zip(asked, found, strict=True):
            self.echoes.note(peer.name, is_up=not why, found=why)
        self.echoes.forget_all_but([peer.name for peer in asked])
        return 0  # a line of the log for each round would hide the others

    def send_phantom_when_due(self, check: ConstancyCheck, *, every: timedelta) -> int:
        """Put the phantom on its way if it is time; return whether it was."""
        snapshot = self.health.figures.snapshot()
        if not is_due(
            snapshot.constancy,
            at=snapshot.at,
            every=every,
            expected=self.health.constancy.expected(),
        ):
            return 0
        check.begin()
        return 1

    def verify(self, problems: Callable[[], Sequence[object]]) -> int:
        """Look whether the audit trail is sound.

        Raises:
            TrailNotSoundError: it is not.
        """
        found = problems()
        if found:
            raise TrailNotSoundError(count=len(found))
        return 0

    def tell(self, *, remind_after: timedelta) -> int:
        """Tell people what is new; return how many messages went out.

        Raises:
            NotSentError: a channel took none; its messages wait.
        """
        return Notifier(
            self.notices, self.channels, find_troubles=self.troubles, remind_after=remind_after
        ).run_once()

    def troubles(self) -> tuple[Trouble, ...]:
        """Return all that needs a person now."""
        snapshot = self.health.figures.snapshot()
        checks = {one.name: one for one in self.health.readiness()}
        checks |= {one.name: one for one in self.health.rounds(snapshot)}
        return troubles(snapshot, tuple(_in_order(checks)), patience=self.patience)


def _in_order(checks: dict[str, Check]) -> list[Check]:
    return [checks[name] for name in sorted(checks)]


def _why_down(peer: PeerSection, *, calling_ae: str) -> str:
    """Return why a destination does not answer; empty: it does."""
    try:
        answer = echo(peer, calling_ae=calling_ae, timeout_seconds=_ECHO_SECONDS)
    except BoneAgeError as error:
        return error.code
    except OSError as error:  # its name cannot be resolved
        return error.strerror or type(error).__name__
    return "" if answer.status == 0 else f"status 0x{answer.status:04X}"
