"""Whether a destination is worth a try: while it is away, only a C-ECHO goes out now and then."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from schemas.config import PeerSection
from schemas.errors import BoneAgeError
from schemas.jobs import RetryPolicy
from worker.delivery.scu import VERIFICATION, open_association
from worker.logs import log

#: a destination that is back is noticed within a minute, however long it was away
LONGEST_REST = timedelta(seconds=60)
_JITTER = 0.2  # share by which a pause may be shortened, so that nothing comes back in step


def shortened(delay: timedelta) -> timedelta:
    """Return ``delay`` less some chance, so that what was put off together does not return so."""
    return delay * (1 - _JITTER * random.random())  # noqa: S311 - no secret


class Circuit:
    """The line to one destination: open (broken) since it was away, until a C-ECHO gets through.

    The pauses between two echoes grow from the first retry to a minute. What closes the circuit
    is any answer to an echo; what forgets how often it broke is an object that was taken, so that
    a peer which echoes and stores nothing is not hammered.
    """

    def __init__(
        self,
        peer: PeerSection,
        *,
        ae_title: str,
        connect_timeout_seconds: float,
        policy: RetryPolicy,
        now: Callable[[], datetime],
    ) -> None:
        self._peer = peer
        self._ae_title = ae_title
        self._connect_timeout_seconds = connect_timeout_seconds
        self._policy = policy
        self._now = now
        self._times = 0  # that it broke or stayed broken, in a row
        self._rests_until: datetime | None = None

    @property
    def destination(self) -> str:
        """Return the name of the peer at the other end."""
        return self._peer.name

    @property
    def is_open(self) -> bool:
        """Say whether nothing may be sent."""
        return self._rests_until is not None

    @property
    def is_due(self) -> bool:
        """Say whether the pause is over; a clock that was set back does not make it longer."""
        if self._rests_until is None:
            return False
        return not timedelta() < self._rests_until - self._now() <= LONGEST_REST

    def trip(self) -> None:
        """Note that the destination is away: rest, longer each time."""
        self._times += 1
        pause = min(self._policy.delay_after(self._times), LONGEST_REST)
        self._rests_until = self._now() + shortened(pause)

    def forget(self) -> None:
        """Note that the destination took an object."""
        self._rests_until, self._times = None, 0

    def probe(self) -> bool:
        """Send one C-ECHO; return whether somebody answered, which closes the circuit."""
        try:
            association = open_association(
                self._peer,
                ae_title=self._ae_title,
                sop_class_uids=[VERIFICATION],
                connect_timeout_seconds=self._connect_timeout_seconds,
                answer_seconds=self._connect_timeout_seconds,
            )
            try:
                if association.takes(VERIFICATION):  # who refuses the echo itself is there, too
                    association.echo()
            finally:
                association.release()
        except BoneAgeError as error:
            self.trip()
            log.info("delivery.still_away", destination=self._peer.name, code=error.code)
            return False
        self._rests_until = None
        log.info("delivery.back", destination=self._peer.name)
        return True
