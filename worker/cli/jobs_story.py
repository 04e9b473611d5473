"""How jobs look to a person: a row of the list, and the whole story of one."""

from collections.abc import Sequence
from datetime import datetime

from schemas.inquiries import ReceptionView
from schemas.jobs import (
    DestinationView,
    JobEvent,
    JobState,
    JobView,
    OutboxState,
    Outcome,
)
from worker.cli.output import local_time, print_facts, print_table

JOB_COLUMNS = ("JOB", "STATE", "BONE AGE", "SEX", "FROM", "RECEIVED", "WHY")

#: for these, something happens by itself at the time shown: the next try, or asking for the proof
_HAS_NEXT = (OutboxState.WAITING, OutboxState.SENT)
_DESTINATIONS = (
    "DESTINATION",
    "OBJECT",
    "STATE",
    "TRIES",
    "STATUS",
    "SENT",
    "CONFIRMED",
    "NEXT",
    "ERROR",
)


def job_row(job: JobView, *, is_quarantined: bool = False) -> tuple[str, ...]:
    """Return one job in the order of ``JOB_COLUMNS``."""
    why = (job.error or job.reason or "", "a content is quarantined" if is_quarantined else "")
    return (
        str(job.job_id),
        job.state.value,
        bone_age(job),
        job.sex or "",
        job.calling_ae,
        local_time(job.received_at),
        "; ".join(text for text in why if text),
    )


def bone_age(job: JobView) -> str:
    """Return the number with its interval, or what was found instead; of an earlier round: so."""
    if job.bone_age_months is None:
        if job.outcome is Outcome.ESTIMATED:
            return "two: sex unknown"
        return job.outcome.value if job.outcome else ""
    before = "" if job.is_result_current else "before: "
    if job.interval_months is None:
        return f"{before}{job.bone_age_months:.1f} mo"
    low, high = job.interval_months
    return f"{before}{job.bone_age_months:.1f} mo ({low:.0f} to {high:.0f})"


def stages_of(events: Sequence[JobEvent]) -> dict[str, float]:
    """Return how long the latest round took in each stage, in seconds; only what has ended.

    waited: queued until it was claimed; read: until there was a result; delivered: until every
    destination had it.
    """
    ended: dict[JobState, datetime] = {}
    seconds: dict[str, float] = {}
    for event in events:
        if event.after is None:
            continue
        if event.after is JobState.QUEUED and event.before is not JobState.RUNNING:
            ended, seconds = {}, {}
        ended[event.after] = event.at
        for name, before, after in (
            ("waited", JobState.QUEUED, JobState.RUNNING),
            ("read", JobState.RUNNING, JobState.DELIVERING),
            ("delivered", JobState.DELIVERING, JobState.DELIVERED),
        ):
            if event.after is after and before in ended:
                seconds[name] = round((event.at - ended[before]).total_seconds(), 3)
    return seconds


def print_story(
    job: JobView, events: Sequence[JobEvent], receptions: Sequence[ReceptionView]
) -> None:
    """Print what arrived, what was found, who has it, and everything that happened."""
    print_facts(_facts(job, events))
    print()
    print_table(
        ("CONTENT", "STATE", "FROM", "ADDRESS", "RECEIVED", "SIZE", "SHA-256", "FILE"),
        [_reception_row(one) for one in receptions],
        none="Nothing was received.",
    )
    print()
    print_table(
        _DESTINATIONS,
        [destination_row(one) for one in job.destinations],
        none="Nothing is owed to any destination.",
    )
    taken = {one.sop_instance_uid: one for one in job.destinations if one.sop_instance_uid}
    if taken:
        print()
        rows = [(one.kind.value, uid or "") for uid, one in taken.items()]
        print_table(("OBJECT", "SOP INSTANCE"), rows, none="")
    print()
    print_table(
        ("WHEN", "WHO", "EVENT", "STATE AFTER", "WHY"),
        [
            (local_time(event.at), event.actor, what(event), event.after or "", event.reason)
            for event in events
        ],
        none="No events.",
    )


def what(event: JobEvent) -> str:
    """Return the name of an event, and of which object and destination it speaks."""
    words = (event.event, event.detail.get("kind"), event.detail.get("destination"))
    return " ".join(str(word) for word in words if word)


def destination_row(one: DestinationView) -> tuple[str, ...]:
    """Return what one destination has of one object, in the order of the columns."""
    return (
        one.destination,
        one.kind.value,
        one.state.value,
        str(one.attempt),
        "" if one.status is None else f"0x{one.status:04X}",
        local_time(one.sent_at),
        local_time(one.confirmed_at),
        local_time(one.run_after) if one.state in _HAS_NEXT else "",
        one.error or "",
    )


def _reception_row(one: ReceptionView) -> tuple[str, ...]:
    file = "kept" if one.removed_at is None else f"removed {local_time(one.removed_at)}"
    return (
        str(one.reception_id),
        one.state.value,
        one.calling_ae,
        one.peer_address,
        local_time(one.received_at),
        f"{one.size_bytes / 1024:.0f} KiB",
        one.digest[:12],
        file,
    )


def _facts(job: JobView, events: Sequence[JobEvent]) -> dict[str, str]:
    stages = (f"{name} {seconds:.1f} s" for name, seconds in stages_of(events).items())
    steps = (f"{name} {ms:.0f} ms" for name, ms in job.timings_ms.items())
    facts = {
        "Job": str(job.job_id),
        "State": job.state.value,
        "Outcome": job.outcome.value if job.outcome else "",
        "Reason": job.reason or "",
        "Bone age": bone_age(job),
        "Sex": f"{job.sex or 'unknown'} ({job.sex_source or 'not read yet'})",
        "From": job.calling_ae,
        "Received": local_time(job.received_at),
        "Changed": local_time(job.updated_at),
        "Stages": ", ".join(stages),
        "Reading": ", ".join(steps),
        "Attempt, revision": f"{job.attempt}, {job.revision}",
        "Release": job.release,
        "SOP instance": job.sop_instance_uid,
        "Study": job.study_instance_uid,
        "Image": "" if job.image_removed_at is None else "removed by retention",
        "Last error": job.error or "",
    }
    return {name: value for name, value in facts.items() if value}
