"""The smallest valid arrival, result and finished job; a test names only what matters to it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from schemas.jobs import (
    Arrival,
    Claim,
    NewOutput,
    NewResult,
    ObjectKind,
    OutboxClaim,
    OutboxOrder,
    Outcome,
    RetryPolicy,
)
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

LEASE = timedelta(minutes=2)
RETRY = RetryPolicy(
    attempts=3,
    first_delay=timedelta(seconds=5),
    factor=2,
    longest_delay=timedelta(seconds=8),
)
SC_CLASS = "1.2.840.10008.5.1.4.1.1.7"
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"
SR_AND_SC = (
    OutboxOrder(kind=ObjectKind.SR, destination="PACS"),
    OutboxOrder(kind=ObjectKind.SC, destination="PACS"),
)


def arrival(uid: str = "1.2.3", **overrides: Any) -> Arrival:  # noqa: ANN401 - any field of the type
    smallest = Arrival(
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        study_instance_uid=f"{uid}.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest="a" * 64,
        size_bytes=1000,
        spool_file=f"spool/aa/{uid}-{overrides.get('digest', 'a' * 64)[:4]}.dcm",
        calling_ae="MODALITY",
        called_ae="BONEAGE",
        peer_address="127.0.0.1",
    )
    return replace(smallest, **overrides)


def result(claim: Claim, **overrides: Any) -> NewResult:  # noqa: ANN401 - any field of the type
    smallest = NewResult(
        outcome=Outcome.ESTIMATED,
        reason="",
        result_folder=f"results/{claim.job_id}/{claim.revision}",
        release_digest="1" * 64,
        profile_digest="2" * 64,
        outputs=(
            NewOutput(
                kind=ObjectKind.SC,
                sop_class_uid=SC_CLASS,
                sop_instance_uid=f"2.25.1.{claim.job_id}.{claim.revision}",
            ),
        ),
        orders=SR_AND_SC,
        bone_age_months=120.5,
        interval_months=(108.0, 133.0),
        sex="M",
        sex_source="patient_sex",
        timings_ms={"estimate": 12.5},
    )
    return replace(smallest, **overrides)


def claimed(queue: JobQueue) -> Claim:
    claim = queue.claim(lease=LEASE)
    assert claim is not None
    return claim


def taken(outbox: Outbox, *destinations: str) -> OutboxClaim:
    claim = outbox.claim(lease=LEASE, destinations=destinations or ("PACS",))
    assert claim is not None
    return claim


def settled(queue: JobQueue, *, uid: str = "1.2.3", **overrides: Any) -> Claim:  # noqa: ANN401 - any field of the type
    """Receive, claim and settle one image."""
    queue.receive(arrival(uid))
    claim = claimed(queue)
    queue.settle(claim, result(claim, **overrides))
    return claim


def send_all(outbox: Outbox) -> None:
    """Let the PACS take everything that is due, as the deliverer would."""
    while (claim := outbox.claim(lease=LEASE, destinations=("PACS",))) is not None:
        uid = f"2.25.{1 if claim.kind is ObjectKind.SC else 2}.{claim.job_id}.{claim.revision}"
        if claim.kind is ObjectKind.SR:
            report = NewOutput(kind=ObjectKind.SR, sop_class_uid=SR_CLASS, sop_instance_uid=uid)
            outbox.record_output(claim, report)
        outbox.mark_sent(claim, sop_instance_uid=uid, status=0)
