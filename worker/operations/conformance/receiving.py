"""What the statement says of the SCP, from the contexts and the errors themselves."""

from collections.abc import Iterator
from typing import TypeVar

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from schemas.config import ListenerSection, PeerSection
from worker.listener.contexts import REPORTS, VERIFICATION, supported_contexts
from worker.listener.errors import AssociationRefusedError, HandshakeError, StoreRefusedError
from worker.operations.conformance.markdown import table

_RESULTS = {1: "permanent", 2: "transient"}  # A-ASSOCIATE-RJ, PS3.8 table 9-21
_PURPOSES = {
    "verification": "C-ECHO",
    "reports": "only our own, when they are routed back; others are refused",
    "images": "kept; read, if an intake rule wants it",
}
_Error = TypeVar("_Error")


def associations(section: ListenerSection) -> str:
    """Return limits and time-outs."""
    rows = (
        ("port", _port(section)),
        ("maximum PDU that we take", f"{section.maximum_pdu_size} bytes"),
        ("associations at the same time", str(section.maximum_associations)),
        ("of one address", str(section.maximum_associations_by_address)),
        ("of one calling AE title", str(section.maximum_associations_by_calling_ae)),
        ("time to ask for an association", f"{section.acse_timeout_seconds:g} s"),
        ("pause inside a message", f"{section.dimse_timeout_seconds:g} s"),
        ("pause between messages", f"{section.network_timeout_seconds:g} s"),
        ("time for one object", f"{section.message_timeout_seconds:g} s"),
        ("largest object", f"{section.largest_file_megabytes} MB"),
    )
    return table(("parameter", "value"), rows)


def rejections() -> str:
    """Return how an association is rejected, and when."""
    found = sorted(
        (error.answer, _words(error), error.code)
        for error in _all_of(AssociationRefusedError)
        if error is not HandshakeError  # without TLS there is no answer in DICOM
    )
    rows = (
        (", ".join(map(str, answer)), _RESULTS[answer[0]], words, f"`{code}`")
        for answer, words, code in found
    )
    return table(("result, source, reason", "result", "when", "code"), rows)


def senders(peers: tuple[PeerSection, ...]) -> str:
    """Return who is let in."""
    if not peers:
        return (
            "Peers are configured as `[[peer]]`; nobody else is let in, unless "
            "`accept_unknown_calling_ae` is set."
        )
    rows = (
        (
            peer.name,
            f"`{peer.ae_title}`",
            ", ".join(map(str, peer.addresses)) or "any",
            "yes" if peer.sender else "no",
        )
        for peer in peers
    )
    return table(("peer", "AE title", "may come from", "may send"), rows)


def contexts() -> str:
    """Return every SOP class with the set of transfer syntaxes that it is taken in."""
    rows = (
        (UID(uid).name, f"`{uid}`", _PURPOSES[_set_of(one)], _set_of(one))
        for one in supported_contexts()
        if (uid := str(one.abstract_syntax))
    )
    return table(("SOP class", "UID", "what for", "transfer syntaxes"), rows)


def syntaxes() -> str:
    """Return every set of transfer syntaxes."""
    sets = {_set_of(one): one.transfer_syntax or [] for one in supported_contexts()}
    rows = [(name, each.name, f"`{each}`") for name, found in sets.items() for each in found]
    return table(("transfer syntaxes", "name", "UID"), rows)


def statuses() -> str:
    """Return what a sender may be answered."""
    ours = "file and job are durable; also for what is sent again, and for our own objects"
    refused = sorted(
        (f"0x{error.status:04X}", _words(error), f"`{error.code}`")
        for error in _all_of(StoreRefusedError)
    )
    other = ("0x0110", "anything else went wrong here", "")
    return table(("status", "when", "code"), [("0x0000", ours, ""), *refused, other])


def _port(section: ListenerSection) -> str:
    tls = section.tls
    if not tls.enabled:
        return f"{section.port}, without TLS"
    kind = "mutual TLS" if tls.client_ca is not None else "TLS"
    if tls.port is None:
        return f"{section.port}, {kind}"
    return f"{section.port} without TLS, {tls.port} with {kind}"


def _set_of(context: PresentationContext) -> str:
    if context.abstract_syntax == VERIFICATION:
        return "verification"
    return "reports" if context.abstract_syntax in REPORTS else "images"


def _words(error: type) -> str:
    return (error.__doc__ or "").partition("\n")[0].rstrip(".")


def _all_of(family: type[_Error]) -> Iterator[type[_Error]]:
    for error in family.__subclasses__():
        yield error
        yield from _all_of(error)
