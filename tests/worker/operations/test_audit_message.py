from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from schemas.inquiries import AuditSubject
from schemas.jobs import JobEvent
from worker.operations.audit_message import AuditSource, build_message

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))
SOURCE = AuditSource(ae_title="BONEAGE", host="worker-1")
SUBJECT = AuditSubject(
    sop_instance_uid="1.2.3",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    study_instance_uid="1.2.3.1",
    calling_ae="PACS",
    peer_address="10.1.2.3",
    patient_id_hash="f" * 64,
)


def event(name: str, **overrides: Any) -> JobEvent:  # noqa: ANN401 - any field of the type
    fields: dict[str, Any] = {
        "event_id": 17,
        "job_id": 5,
        "at": datetime(2026, 1, 5, 3, 0, tzinfo=UTC),
        "actor": "listen@worker-1:42",
        "event": name,
        "before": None,
        "after": None,
        "reason": "",
        "detail": {},
        "previous_hash": "",
        "hash": "a" * 64,
    }
    return JobEvent(**{**fields, **overrides})


def message(told: JobEvent, subject: AuditSubject | None = SUBJECT) -> etree._Element:
    root = etree.fromstring(build_message(told, subject, source=SOURCE))
    assert SCHEMA.validate(root), SCHEMA.error_log
    return root


@pytest.mark.parametrize(
    "name",
    [
        *("received", "resent", "claimed", "settled", "sent", "confirmed", "send_failed"),
        *("requeued", "cancelled", "failed", "ignored", "quarantined", "retry", "opened"),
        *("files_removed", "a_name_of_a_later_version"),
    ],
)
def test_every_event_of_a_job_is_a_message_of_the_standard(name: str) -> None:
    root = message(event(name, reason="an object was not taken"))

    assert root.find("EventIdentification/EventID").get("codeSystemName") == "DCM"
    assert root.xpath("//Instance/@UID") == ["1.2.3"]


@pytest.mark.parametrize(
    "name",
    [
        *("association_refused", "refused", "own_object_returned", "halves_removed"),
        *("orphans_removed", "records_removed", "anchor_made", "audit_exported"),
        *("settings_reloaded", "settings_refused", "release_chosen"),
        *("process_started", "process_stopped", "process_fell"),
    ],
)
def test_every_event_of_no_job_is_a_message_of_the_standard(name: str) -> None:
    detail = {"calling_ae": "STRANGER", "peer_address": "10.9.9.9"}
    message(event(name, job_id=None, detail=detail), None)


def test_what_came_names_sender_and_receiver() -> None:
    root = message(event("received"))

    assert root.find("EventIdentification").get("EventActionCode") == "C"
    ends = [
        (one.get("UserID"), one.get("UserIsRequestor")) for one in root.iter("ActiveParticipant")
    ]
    assert ends == [("PACS", "true"), ("BONEAGE", "false"), ("listen@worker-1:42", "false")]
    assert root.xpath("//ActiveParticipant[1]/@NetworkAccessPointID") == ["10.1.2.3"]


def test_what_was_sent_names_the_destination_and_our_object() -> None:
    detail = {"destination": "pacs", "sop_instance_uid": "2.25.7"}
    root = message(event("sent", detail=detail))

    assert root.xpath("//ActiveParticipant/@UserID")[:2] == ["BONEAGE", "pacs"]
    assert root.xpath("//Instance/@UID") == ["2.25.7"]


def test_the_operators_name_stands_in_it() -> None:
    root = message(event("requeued", actor="operator:anna", reason="PACS was down"))

    (actor,) = root.iter("ActiveParticipant")
    assert (actor.get("UserName"), actor.get("UserIsRequestor")) == ("anna", "true")


def test_the_patient_is_named_by_a_keyed_hash_alone() -> None:
    root = message(event("settled"))

    (patient,) = root.xpath("//ParticipantObjectIdentification[@ParticipantObjectTypeCodeRole='1']")
    assert patient.get("ParticipantObjectID") == "f" * 64


def test_a_stranger_at_the_door_is_a_security_alert() -> None:
    detail = {"calling_ae": "STRANGER", "peer_address": "10.9.9.9"}
    told = event("association_refused", job_id=None, reason="association.calling_ae", detail=detail)
    root = message(told, None)

    assert root.xpath("//EventID/@csd-code") == ["110113"]
    assert root.xpath("//EventTypeCode/@csd-code") == ["110126"]
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "4"
    assert "STRANGER" in root.xpath("//ActiveParticipant/@UserID")


@pytest.mark.parametrize(
    ("name", "type_code", "outcome"),
    [
        ("process_started", "110120", "0"),
        ("process_stopped", "110121", "0"),
        ("process_fell", "110121", "8"),
    ],
)
def test_start_and_stop_of_a_process_are_application_activity(
    name: str, type_code: str, outcome: str
) -> None:
    detail = {"application": "infer:cuda:0@worker-1:43", "launcher": "serve@worker-1:42"}
    told = event(name, job_id=None, actor="serve@worker-1:42", detail=detail)
    root = message(told, None)

    assert root.xpath("//EventID/@csd-code") == ["110100"]
    assert root.xpath("//EventTypeCode/@csd-code") == [type_code]
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == outcome
    roles = root.xpath("//ActiveParticipant/RoleIDCode/@csd-code")
    assert roles == ["110150", "110151"]
    assert root.xpath("//ActiveParticipant/@UserID") == list(detail.values())
    assert root.xpath("//ActiveParticipant/@UserIsRequestor") == ["false", "true"]
    assert root.xpath("//ActiveParticipant/@AlternativeUserID") == ["AETITLES=BONEAGE"]


def test_a_reason_with_marks_and_controls_stays_one_line_of_xml() -> None:
    told = event("failed", reason='<&"\x00\n ende')
    sent = build_message(told, SUBJECT, source=SOURCE)

    assert b"\n" not in sent
    message(told)


def test_equal_events_give_equal_bytes() -> None:
    first = build_message(event("settled"), SUBJECT, source=SOURCE)

    assert build_message(event("settled"), SUBJECT, source=SOURCE) == first
