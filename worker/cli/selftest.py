"""`boneage selftest`: the constancy phantom through the real path, against its known answer."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import TransientError
from schemas.jobs import JobState, JobView, OutboxState
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_facts, print_json, progress_bar
from worker.cli.peers import named_peer

if TYPE_CHECKING:
    from schemas.releases import Phantom
    from worker.queue.jobs import JobQueue

_LOOK_SECONDS = 0.2
_AT_REST = (JobState.DELIVERED, JobState.FAILED, JobState.IGNORED, JobState.CANCELLED)
_HAS_IT = (OutboxState.SENT, OutboxState.CONFIRMED)


class NotBackError(TransientError):
    """The phantom did not come round in time."""

    code = "selftest.not_back"

    def __init__(self, *, job_id: int, state: str, seconds: float) -> None:
        super().__init__(
            f"The phantom (job {job_id}) is still {state} after {seconds:.0f} seconds. Is "
            "`boneage serve` running, and does it wait behind other images? `boneage jobs show "
            f"{job_id}` says where it stands; it goes on by itself."
        )


def selftest(
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="Send the results to this peer. Else: nobody."),
    ] = None,
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=1, help="How long to wait for it, in seconds.")
    ] = 180.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the constancy phantom the round that every image goes, and compare with what is known.

    The worker must be running. Queue, inference and delivery are the real ones; the results go to
    a destination of this machine that forgets them, or, with `--to`, to a PACS.
    Exit code 1: it did not come back, or not right.

    Examples: boneage selftest; boneage selftest --to pacs
    """
    from worker.app import health, identities, queues

    checked = settings(config)
    peer = named_peer(checked, to) if to is not None else None
    queue = queues.job_queue(checked, actor=identities.operator())
    check = health.constancy_check(checked, queue)
    started = time.monotonic()
    uid = check.begin(to=peer)
    job = _come_round(queue, uid, wait_seconds=wait_seconds)
    record = _record(job, check.phantom, seconds=time.monotonic() - started)
    if as_json:
        print_json(record)
    else:
        _print(record)
    if not record["is_right"]:
        raise typer.Exit(1)


def _come_round(queue: "JobQueue", uid: str, *, wait_seconds: float) -> JobView:
    job = next(one for one in queue.jobs(limit=1000) if one.sop_instance_uid == uid)
    ends = time.monotonic() + wait_seconds
    with progress_bar() as bar:
        task = bar.add_task("The phantom goes round", total=None)
        while job.state not in _AT_REST:
            bar.update(task, description=f"The phantom is {job.state.value}")
            if time.monotonic() > ends:
                raise NotBackError(job_id=job.job_id, state=job.state.value, seconds=wait_seconds)
            time.sleep(_LOOK_SECONDS)
            job = queue.job(job.job_id)
    return job


def _record(job: JobView, phantom: "Phantom", *, seconds: float) -> dict[str, Any]:
    found = job.bone_age_months
    deviation = None if found is None else found - phantom.known_value_months
    is_taken = [one.state in _HAS_IT for one in job.destinations]
    is_round = job.state is JobState.DELIVERED and bool(is_taken) and all(is_taken)
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "reason": job.reason,
        "release": job.release,
        "bone_age_months": found,
        "known_months": phantom.known_value_months,
        "tolerance_months": phantom.tolerance_months,
        "deviation_months": deviation,
        "is_right": is_round
        and deviation is not None
        and abs(deviation) <= phantom.tolerance_months,
        "destinations": sorted({one.destination for one in job.destinations}),
        "seconds": round(seconds, 2),
        "timings_ms": job.timings_ms,
    }


def _print(record: dict[str, Any]) -> None:
    deviation, found = record["deviation_months"], record["bone_age_months"]
    print_facts(
        {
            "Verdict": "right" if record["is_right"] else "WRONG",
            "Job": f"{record['job_id']}, {record['state']}"
            + (f" ({record['reason']})" if record["reason"] else ""),
            "Bone age": "no number" if found is None else f"{found:.2f} months",
            "Known": f"{record['known_months']:.2f} ± {record['tolerance_months']:.2f} months",
            "Difference": "" if deviation is None else f"{deviation:+.3f} months",
            "Release": record["release"],
            "Delivered to": ", ".join(record["destinations"]) or "nobody",
            "Time": f"{record['seconds']:.1f} s",
        }
    )
    if not record["is_right"]:
        print(f"Look at `boneage jobs show {record['job_id']}` and `boneage doctor`.")
