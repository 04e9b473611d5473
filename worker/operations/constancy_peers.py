"""Who takes part in the constancy check; known to every process, and loads nothing that draws."""

from schemas.config import IntakeRule, PeerSection
from schemas.phantom import CONSTANCY_AE, CONSTANCY_PEER, SELFTEST_AE, SELFTEST_SCHEME


def constancy_peer(*, port: int = 1) -> PeerSection:
    """Return the destination of the check; known to every process, reached by `deliver` alone."""
    return PeerSection(
        name=CONSTANCY_PEER, ae_title=CONSTANCY_AE, host="127.0.0.1", port=port, sender=False
    )


def selftest_peer() -> PeerSection:
    """Return who sends for `selftest --to`: known, so that nobody else may come by its name."""
    return PeerSection(
        name="selftest", ae_title=SELFTEST_AE, host="127.0.0.1", sender=False, destination=False
    )


def constancy_rules(peers: tuple[PeerSection, ...]) -> tuple[IntakeRule, ...]:
    """Return the rules that let the phantom in, whatever images the site reads."""
    to_us = IntakeRule(
        name="constancy check",
        calling_ae=(CONSTANCY_AE,),
        modalities=("DX",),
        destinations=(CONSTANCY_PEER,),
    )
    to_others = (
        IntakeRule(
            name="selftest",
            calling_ae=(SELFTEST_AE,),
            modalities=("DX",),
            codes=(f"{SELFTEST_SCHEME}:{peer.ae_title}",),
            destinations=(peer.name,),
        )
        for peer in peers
        if peer.destination
    )
    return (to_us, *to_others)
