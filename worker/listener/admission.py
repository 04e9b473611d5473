"""Who gets in: AE titles, addresses and limits, checked before an association is accepted."""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pynetdicom.association import Association

from schemas.config import ListenerSection, PeerSection
from worker.listener.errors import (
    AddressRefusedError,
    AssociationRefusedError,
    CalledAeRefusedError,
    CallingAeRefusedError,
    CertificateRefusedError,
    TooManyAssociationsError,
)
from worker.logs import log
from worker.queue.jobs import JobQueue

#: One row of the trail for each kind of refusal and peer in this time: a peer that hammers, or
#: one that guesses, must not fill the database.
_AUDIT_SECONDS = 60.0
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks for an association."""

    calling_ae: str
    called_ae: str
    address: str
    certificate_names: frozenset[str] | None = None  #: None: it did not come by TLS


class Admission:
    """Decides about each association that is asked for; shared by all their threads."""

    def __init__(
        self,
        section: ListenerSection,
        *,
        peers: Sequence[PeerSection],
        reporters: Collection[str] = (),
    ) -> None:
        """``reporters`` are AE titles that come in to report, whether or not they may send."""
        self._section = section
        self._admitted: dict[Association, Applicant] = {}
        self._lock = threading.Lock()
        self.follow(peers, reporters=reporters)

    def follow(self, peers: Sequence[PeerSection], *, reporters: Collection[str] = ()) -> None:
        """Judge by these peers from now on; whoever is inside stays."""
        self._senders = [peer for peer in peers if peer.sender]
        self._callers = [
            peer for peer in peers if peer.sender or peer.ae_title.strip() in reporters
        ]
        self._titles = frozenset(peer.ae_title.strip() for peer in peers)

    @property
    def is_open_to_somebody(self) -> bool:
        """Say whether anybody at all may send."""
        return bool(self._senders) or self._section.accept_unknown_calling_ae

    def may_send(self, calling_ae: str) -> bool:
        """Say whether images are taken from ``calling_ae``; a peer that may only report may not."""
        if any(one.ae_title.strip() == calling_ae for one in self._senders):
            return True
        return self._section.accept_unknown_calling_ae and calling_ae not in self._titles

    def admit(self, association: Association, applicant: Applicant) -> None:
        """Let ``association`` in; it counts until it ends.

        Raises:
            AssociationRefusedError: it may not come in; it carries the answer for the peer.
        """
        if applicant.called_ae != self._section.ae_title.strip():
            raise CalledAeRefusedError
        self._require_sender(applicant)
        self._require_name_in_certificate(applicant)
        with self._lock:
            self._admitted = {
                one: who for one, who in self._admitted.items() if not _has_ended(one)
            }
            self._require_place(applicant)
            self._admitted[association] = applicant

    def _require_sender(self, applicant: Applicant) -> None:
        """Whoever is configured is held to it, even where unknown senders are let in."""
        named = [one for one in self._callers if one.ae_title.strip() == applicant.calling_ae]
        if any(_may_come_from(applicant.address, peer) for peer in named):
            return
        if named:
            raise AddressRefusedError
        is_known = applicant.calling_ae in self._titles  # but not as a sender
        if is_known or not self._section.accept_unknown_calling_ae:
            raise CallingAeRefusedError

    def _require_name_in_certificate(self, applicant: Applicant) -> None:
        names = applicant.certificate_names
        if not self._section.tls.match_ae_title or names is None:
            return
        if applicant.calling_ae not in names:
            raise CertificateRefusedError

    def _require_place(self, applicant: Applicant) -> None:
        section, inside = self._section, self._admitted.values()
        counts = (
            ("maximum_associations", len(inside)),
            (
                "maximum_associations_by_address",
                sum(one.address == applicant.address for one in inside),
            ),
            (
                "maximum_associations_by_calling_ae",
                sum(one.calling_ae == applicant.calling_ae for one in inside),
            ),
        )
        for setting, count in counts:
            if count >= getattr(section, setting):
                raise TooManyAssociationsError(setting=setting)


def _has_ended(association: Association) -> bool:
    is_over = association.is_released or association.is_aborted or association.is_rejected
    return is_over or not association.is_alive()


def _may_come_from(address: str, peer: PeerSection) -> bool:
    if not peer.addresses:
        return True
    came_from = plain_address(address)
    return any(came_from in network for network in peer.addresses)


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """Return an address; one of IPv4 that came over a socket of IPv6 as what it is."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class RefusalRecord:
    """Writes refused associations to the log, each, and to the audit trail, now and then."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._written_at: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()

    def write(self, error: AssociationRefusedError, *, detail: Mapping[str, str]) -> None:
        """Write down why ``detail["calling_ae"]`` at ``detail["peer_address"]`` was refused."""
        calling_ae = detail.get("calling_ae", "")
        log.warning("association.refused", calling_ae=calling_ae, code=error.code)
        key = (error.code, calling_ae, detail.get("peer_address", ""))
        if not self._is_due(key):
            return
        try:
            self._queue.record_event(
                event="association_refused", reason=error.code, detail=dict(detail)
            )
        except Exception:  # noqa: BLE001 - nobody is let in because of it
            log.exception("association.refusal_not_audited")

    def _is_due(self, key: tuple[str, str, str]) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._written_at.get(key, -_AUDIT_SECONDS) < _AUDIT_SECONDS:
                return False
            if len(self._written_at) >= _MOST_REMEMBERED:
                oldest = min(self._written_at, key=self._written_at.__getitem__)
                if now - self._written_at[oldest] < _AUDIT_SECONDS:
                    return False  # somebody guesses names: the log has them
                del self._written_at[oldest]
            self._written_at[key] = now
        return True
