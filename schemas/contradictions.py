"""What single settings cannot show: lost names, doubles, halves, ports taken twice."""

from collections import Counter
from dataclasses import dataclass

from schemas.config import Config
from schemas.phantom import CONSTANCY_AE, CONSTANCY_PEER, SELFTEST_AE


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Two settings that are each right and cannot both hold."""

    place: tuple[str | int, ...]  #: ("peer", 0, "destinations")
    message: str  #: what is wrong and how to mend it


def contradictions(config: Config) -> list[Contradiction]:
    """Return what single keys cannot show: names that point nowhere, doubles, crossed marks."""
    found = [
        *_ambiguous_peers(config),
        *_lost_destinations(config),
        *_half_tls(config),
        *_taken_ports(config),
        *_half_mail(config),
        *_early_removal(config),
    ]
    if config.storage.low_mark_percent >= config.storage.high_mark_percent:
        message = "must be below high_mark_percent: receiving stops there and goes on here"
        found.append(Contradiction(place=("storage", "low_mark_percent"), message=message))
    return found


def _ambiguous_peers(config: Config) -> list[Contradiction]:
    found = []
    names = Counter(peer.name for peer in config.peer)
    titles = Counter(peer.ae_title for peer in config.peer if peer.destination)
    for index, peer in enumerate(config.peer):
        if peer.name == CONSTANCY_PEER or peer.ae_title in (CONSTANCY_AE, SELFTEST_AE):
            message = "belongs to the constancy check; choose another"
            key = "name" if peer.name == CONSTANCY_PEER else "ae_title"
            found.append(Contradiction(place=("peer", index, key), message=message))
        if names[peer.name] > 1:
            message = "another peer has this name; give each peer a name of its own"
            found.append(Contradiction(place=("peer", index, "name"), message=message))
        if peer.destination and titles[peer.ae_title] > 1:
            message = (
                "two destinations have this AE title, so a result would not know where to go; "
                "set destination = false for all but one, or name `destinations`"
            )
            found.append(Contradiction(place=("peer", index, "ae_title"), message=message))
    return found


def _taken_ports(config: Config) -> list[Contradiction]:
    """Return our own ports that are meant for two things at once."""
    listener, http = config.listener, config.http
    ours = {listener.port} | ({listener.tls.port} if listener.tls.enabled else set())
    found = []
    if http.enabled and http.port and http.port in ours and _overlap(http.host, listener.host):
        message = "is a port of [listener], too; choose another for one of the two"
        found.append(Contradiction(place=("http", "port"), message=message))
    for index, peer in enumerate(config.peer):
        if peer.destination and peer.port in ours and peer.host in _LOOPBACK:
            message = (
                "is our own listener: results would come back to us; give the port of the PACS, or "
                "set destination = false"
            )
            found.append(Contradiction(place=("peer", index, "port"), message=message))
    return found


_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def _overlap(one: str, other: str) -> bool:
    return one == other or one in _EVERYWHERE or other in _EVERYWHERE


def _half_mail(config: Config) -> list[Contradiction]:
    mail, place = config.notify.email, ("notify", "email")
    half = [
        (bool(mail.host) and not mail.recipients, "recipients", "nobody gets the mail; name one"),
        (bool(mail.recipients) and not mail.host, "host", "no mail server is named; name one"),
        (
            bool(mail.password) and not mail.user,
            "user",
            "there is a password, but nobody to log in with it; name the user",
        ),
    ]
    return [
        Contradiction(place=(*place, key), message=message) for is_so, key, message in half if is_so
    ]


def _early_removal(config: Config) -> list[Contradiction]:
    """Return rows that would be due before the files that they tell of."""
    keep = config.retention
    files = (keep.images_days, keep.ignored_days)
    if not keep.records_days or (all(files) and keep.records_days >= max(files)):
        return []
    message = (
        "must not be less than images_days and ignored_days, which must not be 0 then: rows go "
        "after their files"
    )
    return [Contradiction(place=("retention", "records_days"), message=message)]


def _half_tls(config: Config) -> list[Contradiction]:
    tls, place = config.listener.tls, ("listener", "tls")
    half: list[tuple[bool, tuple[str | int, ...], str]] = [
        (
            tls.enabled and (tls.certificate is None or tls.key is None),
            (*place, "enabled"),
            "needs both `certificate` and `key`",
        ),
        (
            tls.match_ae_title and tls.client_ca is None,
            (*place, "match_ae_title"),
            "needs `client_ca`: without it, no sender shows a certificate",
        ),
        (
            tls.enabled and tls.port == config.listener.port != 0,
            (*place, "port"),
            "is the plain port; leave it out, and TLS takes the place of the plain port",
        ),
        *(
            (
                peer.tls is not None and (peer.tls.certificate is None) != (peer.tls.key is None),
                ("peer", index, "tls"),
                "needs both `certificate` and `key`, or neither",
            )
            for index, peer in enumerate(config.peer)
        ),
    ]
    return [Contradiction(place=where, message=message) for is_so, where, message in half if is_so]


def _lost_destinations(config: Config) -> list[Contradiction]:
    known = {peer.name for peer in config.peer if peer.destination}
    named: list[tuple[tuple[str | int, ...], tuple[str, ...]]] = [
        *((("peer", i, "destinations"), peer.destinations) for i, peer in enumerate(config.peer)),
        *(
            (("intake", "rule", i, "destinations"), rule.destinations)
            for i, rule in enumerate(config.intake.rule)
        ),
    ]
    message = "names a peer that is not configured with destination = true; known: {}"
    return [
        Contradiction(place=place, message=message.format(", ".join(sorted(known)) or "none"))
        for place, destinations in named
        if not set(destinations) <= known
    ]
