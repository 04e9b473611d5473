"""One event of the trail as a DICOM audit message (PS3.15, A.5): XML, in one line, UTF-8.

It names the operator and the systems, and the image by its UIDs. The patient is named by the keyed
hash that the tables hold, never by an ID: who may look may look it up with `boneage jobs list`.
"""

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from types import MappingProxyType
from typing import Final
from xml.etree import ElementTree as ET

from schemas.inquiries import AuditSubject
from schemas.jobs import JobEvent
from worker.operations.lives import FELL, STARTED, STOPPED

Code = tuple[str, str, str]  #: value, scheme, meaning

# PS3.16, context groups 400 to 402
_ACTIVITY: Final = ("110100", "DCM", "Application Activity")
_LOG_USED: Final = ("110101", "DCM", "Audit Log Used")
_ACCESSED: Final = ("110103", "DCM", "DICOM Instances Accessed")
_TRANSFERRED: Final = ("110104", "DCM", "DICOM Instances Transferred")
_DELETED: Final = ("110105", "DCM", "DICOM Study Deleted")
_ALERT: Final = ("110113", "DCM", "Security Alert")
_START: Final = ("110120", "DCM", "Application Start")
_STOP: Final = ("110121", "DCM", "Application Stop")
_NODE_AUTHENTICATION: Final = ("110126", "DCM", "Node Authentication")
_SECURITY_CONFIGURATION: Final = ("110129", "DCM", "Security Configuration")
_SOFTWARE_CONFIGURATION: Final = ("110131", "DCM", "Software Configuration")
_RESTRICTED: Final = ("110132", "DCM", "Use of Restricted Function")
_APPLICATION: Final = ("110150", "DCM", "Application")
_LAUNCHER: Final = ("110151", "DCM", "Application Launcher")
_DESTINATION: Final = ("110152", "DCM", "Destination Role ID")
_SOURCE: Final = ("110153", "DCM", "Source Role ID")
_STUDY_UID: Final = ("110180", "DCM", "Study Instance UID")
# PS3.15, A.5.1.2.4: codes of RFC 3881
_PATIENT_NUMBER: Final = ("2", "RFC-3881", "Patient Number")
_URI: Final = ("12", "RFC-3881", "URI")
_JOB_NUMBER: Final = ("job", "99BONEAGE", "Job number")

_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"  # PS3.15, A.5.1: EventOutcomeIndicator
_MACHINE, _ADDRESS = "1", "2"  # NetworkAccessPointTypeCode
_OPERATOR = "operator:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How one of our events is told in the standard's words."""

    code: Code
    action: str  #: C(reate), R(ead), U(pdate), D(elete), E(xecute)
    outcome: str = _SUCCESS
    type_code: Code | None = None


_KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "received": _Kind(code=_TRANSFERRED, action="C"),
        "resent": _Kind(code=_TRANSFERRED, action="C"),
        "sent": _Kind(code=_TRANSFERRED, action="R"),
        "confirmed": _Kind(code=_TRANSFERRED, action="R"),
        "send_retry": _Kind(code=_TRANSFERRED, action="R", outcome=_MINOR),
        "send_again": _Kind(code=_TRANSFERRED, action="R", outcome=_MINOR),
        "send_failed": _Kind(code=_TRANSFERRED, action="R", outcome=_SERIOUS),
        "own_object_returned": _Kind(code=_TRANSFERRED, action="C"),
        "refused": _Kind(code=_TRANSFERRED, action="C", outcome=_MINOR),
        "claimed": _Kind(code=_ACCESSED, action="R"),
        "opened": _Kind(code=_ACCESSED, action="R"),
        "settled": _Kind(code=_ACCESSED, action="C"),
        "retry": _Kind(code=_ACCESSED, action="R", outcome=_MINOR),
        "failed": _Kind(code=_ACCESSED, action="U", outcome=_SERIOUS),
        "quarantined": _Kind(code=_ACCESSED, action="U", outcome=_MINOR),
        "files_removed": _Kind(code=_DELETED, action="D"),
        "orphans_removed": _Kind(code=_DELETED, action="D"),
        "records_removed": _Kind(code=_ALERT, action="E", type_code=_RESTRICTED),
        "anchor_made": _Kind(code=_ALERT, action="E", type_code=_SECURITY_CONFIGURATION),
        "audit_exported": _Kind(code=_LOG_USED, action="R"),
        STARTED: _Kind(code=_ACTIVITY, action="E", type_code=_START),
        STOPPED: _Kind(code=_ACTIVITY, action="E", type_code=_STOP),
        FELL: _Kind(code=_ACTIVITY, action="E", outcome=_SERIOUS, type_code=_STOP),
        "settings_reloaded": _Kind(code=_ALERT, action="E", type_code=_SOFTWARE_CONFIGURATION),
        "settings_refused": _Kind(
            code=_ALERT, action="E", outcome=_MINOR, type_code=_SOFTWARE_CONFIGURATION
        ),
        "release_chosen": _Kind(code=_ALERT, action="E", type_code=_SOFTWARE_CONFIGURATION),
        "association_refused": _Kind(
            code=_ALERT, action="E", outcome=_MINOR, type_code=_NODE_AUTHENTICATION
        ),
    }
)
_OF_A_JOB: Final = _Kind(code=_ACCESSED, action="U")
_OF_NO_JOB: Final = _Kind(code=_ACTIVITY, action="E")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Who reports: one installation."""

    ae_title: str
    host: str

    @staticmethod
    def here(ae_title: str) -> "AuditSource":
        """Return this installation on this machine."""
        return AuditSource(ae_title=ae_title, host=socket.gethostname())


def build_message(event: JobEvent, subject: AuditSubject | None, *, source: AuditSource) -> bytes:
    """Return the message of one event; equal events give equal bytes."""
    kind = _KINDS.get(event.event, _OF_NO_JOB if event.job_id is None else _OF_A_JOB)
    root = ET.Element("AuditMessage")
    root.append(_identification(event, kind))
    root.extend(_participants(event, subject, kind, source=source))
    reporter = ET.SubElement(
        root, "AuditSourceIdentification", AuditSourceID=f"{source.ae_title}@{source.host}"
    )
    ET.SubElement(reporter, "AuditSourceTypeCode", {"csd-code": "4"})  # application server
    root.extend(_objects(event, subject, kind))
    text: str = ET.tostring(root, encoding="unicode")
    return text.encode()


def _identification(event: JobEvent, kind: _Kind) -> ET.Element:
    found = ET.Element(
        "EventIdentification",
        EventActionCode=kind.action,
        EventDateTime=event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        EventOutcomeIndicator=kind.outcome,
    )
    found.append(_coded("EventID", kind.code))
    if kind.type_code is not None:
        found.append(_coded("EventTypeCode", kind.type_code))
    if kind.outcome != _SUCCESS and event.reason:
        ET.SubElement(found, "EventOutcomeDescription").text = _plain(event.reason)
    return found


def _participants(
    event: JobEvent, subject: AuditSubject | None, kind: _Kind, *, source: AuditSource
) -> Iterator[ET.Element]:
    """Yield who did it, and in a transfer the two ends; one of them asked for it."""
    detail = event.detail
    if kind.type_code in (_START, _STOP):
        yield _process(str(detail.get("application", event.actor)), source=source)
        yield _launcher(str(detail.get("launcher", "unknown")))
        return
    if kind.code != _TRANSFERRED:
        yield _actor(event, source=source)
        if kind.type_code == _NODE_AUTHENTICATION:
            peer, address = detail.get("calling_ae"), detail.get("peer_address")
            yield _node(str(peer or "unknown"), str(address or ""), role=_SOURCE, is_asking=True)
        return
    ours = _node(source.ae_title, source.host, role=_SOURCE, is_asking=True)
    if "destination" in detail:
        yield ours
        yield _node(str(detail["destination"]), "", role=_DESTINATION, is_asking=False)
    else:
        sender = detail.get("calling_ae") or (subject.calling_ae if subject else "unknown")
        address = detail.get("peer_address") or (subject.peer_address if subject else "")
        yield _node(str(sender), str(address), role=_SOURCE, is_asking=True)
        yield _node(source.ae_title, source.host, role=_DESTINATION, is_asking=False)
    yield _actor(event, source=source, is_asking=False)


def _actor(event: JobEvent, *, source: AuditSource, is_asking: bool = True) -> ET.Element:
    """Return the process or the operator who wrote the event."""
    found = ET.Element(
        "ActiveParticipant",
        UserID=event.actor,
        UserIsRequestor=_boolean(is_true=is_asking),
        NetworkAccessPointID=_host_of(event.actor) or source.host,
        NetworkAccessPointTypeCode=_MACHINE,
    )
    if event.actor.startswith(_OPERATOR):
        found.set("UserName", event.actor.removeprefix(_OPERATOR))
    else:
        found.set("AlternativeUserID", event.actor.partition("@")[0])
    found.append(_coded("RoleIDCode", _APPLICATION))
    return found


def _process(application: str, *, source: AuditSource) -> ET.Element:
    """Return the process that began or ended (PS3.15, A.5.2.1, A.5.2.2 and A.5.3.1)."""
    found = ET.Element(
        "ActiveParticipant",
        UserID=application,
        AlternativeUserID=f"AETITLES={source.ae_title}",
        UserIsRequestor=_boolean(is_true=False),
        NetworkAccessPointID=_host_of(application) or source.host,
        NetworkAccessPointTypeCode=_MACHINE,
    )
    found.append(_coded("RoleIDCode", _APPLICATION))
    return found


def _launcher(who: str) -> ET.Element:
    found = ET.Element("ActiveParticipant", UserID=who, UserIsRequestor=_boolean(is_true=True))
    found.append(_coded("RoleIDCode", _LAUNCHER))
    return found


def _host_of(actor: str) -> str:
    """Return the machine in ``listen@host:42``."""
    return actor.partition("@")[2].partition(":")[0]


def _node(ae_title: str, address: str, *, role: Code, is_asking: bool) -> ET.Element:
    found = ET.Element(
        "ActiveParticipant", UserID=ae_title, UserIsRequestor=_boolean(is_true=is_asking)
    )
    if address:
        is_number = address.replace(".", "").isdigit() or ":" in address
        found.set("NetworkAccessPointID", address)
        found.set("NetworkAccessPointTypeCode", _ADDRESS if is_number else _MACHINE)
    found.append(_coded("RoleIDCode", role))
    return found


def _objects(event: JobEvent, subject: AuditSubject | None, kind: _Kind) -> Iterator[ET.Element]:
    if kind.code == _LOG_USED:
        yield _object("audit trail", type_code="2", role="13", id_type=_URI, name="Audit log")
    if subject is not None:
        study = _object(
            subject.study_instance_uid, type_code="2", role="3", id_type=_STUDY_UID, name="study"
        )
        described = ET.SubElement(study, "ParticipantObjectDescription")
        sop_class = ET.SubElement(
            described, "SOPClass", UID=subject.sop_class_uid, NumberOfInstances="1"
        )
        ET.SubElement(sop_class, "Instance", UID=_instance(event, subject))
        yield study
        yield _object(
            subject.patient_id_hash or "unknown",
            type_code="1",
            role="1",
            id_type=_PATIENT_NUMBER,
            name="keyed hash of the patient ID",
        )
    job = str(event.job_id) if event.job_id is not None else "none"
    ours = _object(job, type_code="2", role="20", id_type=_JOB_NUMBER, name=event.event)
    facts = {"event": str(event.event_id), "hash": event.hash, "detail": json.dumps(event.detail)}
    for name, value in facts.items():
        encoded = base64.b64encode(value.encode()).decode()
        # before the description, which this object does not have
        ET.SubElement(ours, "ParticipantObjectDetail", type=name, value=encoded)
    yield ours


def _instance(event: JobEvent, subject: AuditSubject) -> str:
    """Return the object that was moved: ours, where one of ours was sent."""
    sent = event.detail.get("sop_instance_uid")
    return str(sent) if sent else subject.sop_instance_uid


def _object(identity: str, *, type_code: str, role: str, id_type: Code, name: str) -> ET.Element:
    found = ET.Element(
        "ParticipantObjectIdentification",
        ParticipantObjectID=identity,
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )
    found.append(_coded("ParticipantObjectIDTypeCode", id_type))
    ET.SubElement(found, "ParticipantObjectName").text = name
    return found


def _coded(tag: str, code: Code) -> ET.Element:
    value, scheme, meaning = code
    return ET.Element(tag, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def _boolean(*, is_true: bool) -> str:
    return "true" if is_true else "false"


def _plain(text: str) -> str:
    """Return the text in one line, without what XML 1.0 cannot hold."""
    return "".join(one if one.isprintable() else " " for one in text)
