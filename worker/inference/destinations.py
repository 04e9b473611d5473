"""Where the results of one image go."""

from collections.abc import Sequence

from schemas.config import IntakeRule, PeerSection
from schemas.errors import PermanentError
from schemas.jobs import ObjectKind, OutboxOrder


class NoDestinationError(PermanentError):
    """Nobody is configured to get the results of this sender."""

    code = "intake.no_destination"

    def __init__(self, *, calling_ae: str) -> None:
        super().__init__(
            f"No destination is configured for images from {calling_ae}, so nothing was "
            f'estimated. Add a [[peer]] with ae_title = "{calling_ae}" and destination = true to '
            "config.toml, or name destinations in its rule; then `boneage jobs requeue`."
        )


class UnknownDestinationError(PermanentError):
    """A rule or a sender names a destination that is not there."""

    code = "intake.unknown_destination"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            f"The destination {name!r} is named in config.toml, but there is no [[peer]] of that "
            "name with destination = true. Mend one of the two; then `boneage jobs requeue`."
        )


def destinations_of(
    *, rule: IntakeRule, calling_ae: str, peers: Sequence[PeerSection]
) -> tuple[PeerSection, ...]:
    """Return those of the rule, else those of the sender, else the sender itself.

    Raises:
        NoDestinationError: none of the three.
        UnknownDestinationError: a name without a peer that takes results.
    """
    takers = {peer.name: peer for peer in peers if peer.destination}
    own = [peer for peer in peers if peer.ae_title == calling_ae.strip()]
    senders = [peer for peer in own if peer.sender]
    names = rule.destinations or tuple(name for peer in senders for name in peer.destinations)
    if not names:
        names = tuple(peer.name for peer in own if peer.destination)
    if not names:
        raise NoDestinationError(calling_ae=calling_ae.strip())
    for name in names:
        if name not in takers:
            raise UnknownDestinationError(name=name)
    return tuple(takers[name] for name in dict.fromkeys(names))


def orders_for(destinations: Sequence[PeerSection]) -> tuple[OutboxOrder, ...]:
    """Return one order for each object that each destination wants, the SR first."""
    return tuple(
        OutboxOrder(kind=kind, destination=peer.name)
        for peer in destinations
        for kind in ObjectKind
        if kind in peer.objects
    )
