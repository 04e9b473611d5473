"""`boneage jobs requeue` and `cancel`: one or many, shown before they are done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import BoneAgeError, NoSuchJobError, UsageError
from schemas.jobs import MOVES, JobState, JobView
from worker.cli.jobs_filters import JobFilterOptions, with_filters
from worker.cli.jobs_story import bone_age
from worker.cli.options import ConfigOption, JsonOption, ReasonOption, YesOption, settings
from worker.cli.output import confirm, local_time, print_json, print_table

if TYPE_CHECKING:
    from schemas.inquiries import JobFilter
    from worker.queue.jobs import JobQueue

JobNumbers = Annotated[
    list[int] | None,
    typer.Argument(metavar="[JOB_ID]...", help="Numbers of jobs; or name them by filters."),
]
LimitOption = Annotated[
    int, typer.Option(min=1, help="At most so many; more is refused, not cut off.")
]
_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be done with each of some jobs."""

    what: str  #: stands in the preview: "estimate again"
    obstacle: Callable[[JobView], str]  #: why it cannot be done with this job; empty: it can
    apply: Callable[[int], None]


class NothingChosenError(UsageError):
    """Jobs are to be changed, but it was not said which."""

    code = "jobs.nothing_chosen"

    def __init__(self) -> None:
        super().__init__(
            "No job is named, so nothing was changed. Give numbers (`boneage jobs requeue 812 813 "
            "…`) or filters (`--state failed --since 2026-01-31`)."
        )


class TooManyJobsError(UsageError):
    """More jobs fit than may be changed at once."""

    code = "jobs.too_many"

    def __init__(self, *, found: int, limit: int) -> None:
        super().__init__(
            f"{found} jobs fit, and at most {limit} are changed at once. Nothing was changed. "
            f"Narrow the filters, or add --limit {found} if all of them are meant."
        )


class OtherReleaseError(UsageError):
    """Jobs are to be read by a release that nobody serves here."""

    code = "jobs.other_release"

    def __init__(self, *, asked: str, served: str) -> None:
        super().__init__(
            f"This installation reads with release {served!r}, not {asked!r}, and would read the "
            f'jobs with that. Nothing was changed. Set [inference] release = "{asked}", start '
            "`boneage serve` again, then requeue."
        )


@with_filters(without=("release",))
def requeue_jobs(
    job_ids: JobNumbers = None,
    *,
    wanted: JobFilterOptions,
    reason: ReasonOption,
    deliver_only: Annotated[
        bool, typer.Option("--deliver-only", help="Send the same objects again; no new estimate.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(help="Only what this release, which must be served here, has not read yet."),
    ] = None,
    limit: LimitOption = _MOST,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate again (a new revision), or send again what was made.

    Examples: boneage jobs requeue 812 --deliver-only --reason "PACS was down";
    boneage jobs requeue --state failed --since 2026-01-31 --reason "disk was full"
    """
    from worker.app import queues, releases

    checked = settings(config)
    if release is not None and release != (served := releases.release(checked).name):
        raise OtherReleaseError(asked=release, served=served)
    if release is not None and deliver_only:
        message = "what is only sent again is not read by any release"
        raise typer.BadParameter(message, param_hint="--release")
    desk = queues.operator_desk(checked)
    after = JobState.DELIVERING if deliver_only else JobState.QUEUED
    change = Change(
        what="send the same objects again" if deliver_only else "estimate again",
        obstacle=lambda job: _requeue_obstacle(job, after=after, release=release),
        apply=lambda job_id: desk.requeue(job_id, reason=reason, deliver_only=deliver_only),
    )
    jobs = _chosen(desk, wanted, wanted.resolve(checked, job_ids=tuple(job_ids or ())), limit)
    _carry_out(desk, jobs, change, yes=yes, as_json=as_json)


@with_filters()
def cancel_jobs(
    job_ids: JobNumbers = None,
    *,
    wanted: JobFilterOptions,
    reason: ReasonOption,
    limit: LimitOption = _MOST,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop jobs that wait or are being delivered; the images stay.

    Examples: boneage jobs cancel 812 --reason "test image";
    boneage jobs cancel --calling-ae TESTMODALITY --state queued --reason "a test"
    """
    from worker.app import queues

    checked = settings(config)
    desk = queues.operator_desk(checked)
    change = Change(
        what="stop; what was not sent stays here",
        obstacle=lambda job: _move_obstacle(job, after=JobState.CANCELLED),
        apply=lambda job_id: desk.cancel(job_id, reason=reason),
    )
    jobs = _chosen(desk, wanted, wanted.resolve(checked, job_ids=tuple(job_ids or ())), limit)
    _carry_out(desk, jobs, change, yes=yes, as_json=as_json)


def reindex_jobs(*, config: ConfigOption = None) -> None:
    """Reckon the search hashes of all images anew, after search.key was replaced.

    New images, and those of an older version, are indexed by `boneage serve` on its own.

    Example: boneage jobs reindex
    """
    from worker.app import search

    checked = settings(config)
    search.search_index(checked).forget()
    print(f"{search.index_images(checked)} images can be found by accession number and patient ID.")


def _chosen(
    desk: "JobQueue", wanted: JobFilterOptions, fits: "JobFilter", limit: int
) -> list[JobView]:
    """Return the jobs that are meant, oldest first.

    Raises:
        NothingChosenError, TooManyJobsError, NoSuchJobError: nothing was changed.
    """
    if not fits.job_ids and wanted.is_empty():
        raise NothingChosenError
    if (found := desk.count(fits)) > limit:
        raise TooManyJobsError(found=found, limit=limit)
    jobs = desk.find(fits, limit=limit)
    if wanted.is_empty():
        for job_id in set(fits.job_ids) - {job.job_id for job in jobs}:
            raise NoSuchJobError(job_id=job_id)
    return jobs[::-1]


def _carry_out(
    desk: "JobQueue", jobs: Sequence[JobView], change: Change, *, yes: bool, as_json: bool
) -> None:
    """Show what will be done, ask, do it, and say what came of it; exit code 1: not with all."""
    plans = [(job, change.obstacle(job)) for job in jobs]
    todo = [job for job, obstacle in plans if not obstacle]
    if not as_json:
        rows = [_plan_row(job, obstacle or change.what) for job, obstacle in plans]
        print_table(("JOB", "STATE", "FROM", "RECEIVED", "BONE AGE", "PLAN"), rows, none="")
    if not plans:
        if as_json:
            print_json([])
        else:
            print("No such jobs.")
        return
    if todo:
        confirm(f"{len(todo)} of {len(plans)} jobs: {change.what}?", yes=yes)
    refused = {job.job_id: obstacle for job, obstacle in plans if obstacle}
    for job in todo:
        try:
            change.apply(job.job_id)
        except BoneAgeError as error:  # it moved on since it was shown
            refused[job.job_id] = str(error)
    _print_outcome(desk, jobs, refused, as_json=as_json)
    if refused:
        raise typer.Exit(1)


def _print_outcome(
    desk: "JobQueue", jobs: Sequence[JobView], refused: dict[int, str], *, as_json: bool
) -> None:
    states = {job.job_id: desk.job(job.job_id).state.value for job in jobs}
    if as_json:
        print_json(
            [
                {"job_id": job_id, "state": state, "refused": refused.get(job_id)}
                for job_id, state in states.items()
            ]
        )
        return
    for job_id, state in states.items():
        why = f" Nothing was done: {refused[job_id]}" if job_id in refused else ""
        print(f"Job {job_id} is {state}.{why}")


def _plan_row(job: JobView, plan: str) -> tuple[str, ...]:
    received = local_time(job.received_at)
    return (str(job.job_id), job.state.value, job.calling_ae, received, bone_age(job), plan)


def _requeue_obstacle(job: JobView, *, after: JobState, release: str | None) -> str:
    if job.state is JobState.RUNNING:
        return "not now: it is being read"
    if obstacle := _move_obstacle(job, after=after) or _missing(job, after=after):
        return obstacle
    if release is not None and job.release == release and job.revision:
        return f"not needed: release {release} has read it"
    return ""


def _missing(job: JobView, *, after: JobState) -> str:
    """Return what is not here any more, or never was, that the move needs."""
    if after is JobState.QUEUED:
        is_here, what = job.image_removed_at is None, "image; have it sent again"
    elif job.revision == 0:
        return "not possible: there is no result to send"
    else:
        is_here, what = job.result_removed_at is None, "result"
    return "" if is_here else f"not possible: retention has removed the {what}"


def _move_obstacle(job: JobView, *, after: JobState) -> str:
    if after in MOVES[job.state]:
        return ""
    return f"not possible: a job that is {job.state.value} cannot become {after.value}"
