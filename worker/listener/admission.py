"""Who gets in: AE titles, addresses and limits, checked before an association is accepted."""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pynetdicom.association import Association

from schemas.config import ListenerSection, PeerSection
from schemas.errors import BoneAgeError
from worker.listener.errors import (
    AddressRefusedError,
    CalledAeRefusedError,
    CallingAeRefusedError,
    CertificateRefusedError,
    TooManyAssociationsError,
)
from worker.listener.pace import Pace, Repeated, counted
from worker.logs import log
from worker.queue.jobs import JobQueue


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
        self._pace = Pace(most=1)

    def write(
        self,
        error: BoneAgeError,
        *,
        detail: Mapping[str, str],
        event: str = "association_refused",
    ) -> None:
        """Write down why ``detail["calling_ae"]`` at ``detail["peer_address"]`` was refused."""
        calling_ae = detail.get("calling_ae", "")
        log.warning(event.replace("_", ".", 1), calling_ae=calling_ae, code=error.code)
        left_out = self._pace.left_out(
            Repeated(
                event=event,
                code=error.code,
                calling_ae=calling_ae,
                peer_address=detail.get("peer_address", ""),
            )
        )
        if left_out is None:
            return
        try:
            self._queue.record_event(
                event=event,
                reason=error.code,
                detail={**detail, **counted(left_out)},
            )
        except Exception:  # noqa: BLE001 - nobody is let in because of it
            log.exception("association.refusal_not_audited")

    def write_left_out(self, *, is_last: bool = False) -> None:
        """Write how many were left out of the trail, as ``Pace`` does."""
        self._pace.write_left_out(self._queue, is_last=is_last)
