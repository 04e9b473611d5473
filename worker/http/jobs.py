"""`GET /jobs` and `/jobs/{id}`: what `boneage jobs --json` shows, for programs. Reads only."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schemas.errors import NoSuchJobError
from schemas.jobs import JobEvent, JobState, JobView
from worker.http.access import Token
from worker.http.errors import MalformedRequestError
from worker.queue.jobs import JobQueue

MOST_JOBS = 1000
_DEFAULT_JOBS = 100
_LARGEST_ID = 2**31 - 1  # INTEGER of PostgreSQL
_FILTERS = ("state", "since", "study", "calling_ae", "limit")

Record = Mapping[str, Any]


def job_routes(
    queue: JobQueue,
    token: Token,
    *,
    describe_job: Callable[[JobView], Record],
    describe_event: Callable[[JobEvent], Record],
) -> list[Route]:
    """Return the addresses of the job list; each asks for the token.

    Args:
        queue: the jobs.
        token: of this installation.
        describe_job: the stable keys of one job, as on the command line.
        describe_event: those of one line of the audit trail.
    """

    def list_jobs(request: Request) -> JSONResponse:
        token.require(request)
        return JSONResponse([describe_job(job) for job in queue.jobs(**_filters(request))])

    def show_job(request: Request) -> JSONResponse:
        token.require(request)
        job_id = int(request.path_params["job_id"])
        if job_id > _LARGEST_ID:
            raise NoSuchJobError(job_id=job_id)
        job, events = queue.job(job_id), queue.events(job_id)
        more = {
            "error": job.error,
            "timings_ms": job.timings_ms,
            "events": [describe_event(event) for event in events],
        }
        return JSONResponse({**describe_job(job), **more})

    return [Route("/jobs", list_jobs), Route("/jobs/{job_id:int}", show_job)]


def _filters(request: Request) -> dict[str, Any]:
    """Return the arguments of ``JobQueue.jobs``.

    Raises:
        MalformedRequestError: a filter is not known, or its value is none of its values.
    """
    asked = request.query_params
    unknown = sorted(set(asked) - set(_FILTERS))
    if unknown:
        raise MalformedRequestError(
            problem="there is a filter that is not known", mend=f"Known: {', '.join(_FILTERS)}."
        )
    return {
        "states": tuple(_state(one) for one in asked.getlist("state")),
        "since": _time(asked["since"]) if "since" in asked else None,
        "study": asked.get("study"),
        "calling_ae": asked.get("calling_ae"),
        "limit": _limit(asked.get("limit", str(_DEFAULT_JOBS))),
    }


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError:
        known = ", ".join(state.value for state in JobState)
        raise MalformedRequestError(
            problem="state is none that a job can be in", mend=f"Known: {known}."
        ) from None


def _time(text: str) -> datetime:
    """Return the moment; without an offset it is UTC, for a program may run anywhere."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedRequestError(
            problem="since is no time", mend="Write it as 2026-01-31 or 2026-01-31T22:15:00+01:00."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _limit(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_JOBS))
    if not (is_number and 1 <= int(text) <= MOST_JOBS):
        raise MalformedRequestError(
            problem="limit is no number that is taken", mend=f"Write 1 to {MOST_JOBS}."
        )
    return int(text)
