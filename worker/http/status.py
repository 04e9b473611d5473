"""The status page: one look tells whether work goes round. No name, no UID, no free text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.config import PeerSection
from schemas.errors import BoneAgeError
from schemas.figures import DestinationFigures, DriftFigures, EchoFigures, Snapshot
from schemas.jobs import JobState, JobView, Outcome
from schemas.phantom import CONSTANCY_AE
from worker.health.checks import Disk, Health
from worker.health.troubles import shift_months
from worker.health.verdict import Check, spoken
from worker.http.chart import draw_days, first_day
from worker.http.pages import Pages
from worker.queue.jobs import JobQueue

REFRESH_SECONDS = 15
_NEWEST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """One configured peer as the page shows it."""

    name: str
    role: str
    state: str  #: "up", "down", "idle": also the class of its colour
    words: str
    waiting: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One job as the page shows it."""

    job_id: int
    received: str
    calling_ae: str
    state: JobState
    what: str  #: the bone age, or the code that says why there is none
    interval: str
    sex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """What the page is made of."""

    health: Health
    queue: JobQueue
    peers: Callable[[], Sequence[PeerSection]]
    pages: Pages
    version: str
    release: Callable[[], str]
    now: Callable[[], datetime]

    def render(self) -> Response:
        """Return the page; of a database that is away, a page that says so."""
        checks = self.health.readiness()
        try:
            snapshot = self.health.figures.snapshot()
            newest = self.queue.jobs(limit=2 * _NEWEST)
            jobs = [job for job in newest if job.calling_ae != CONSTANCY_AE][:_NEWEST]
            arrived = self.health.figures.arrived_since(first_day(self.now()))
        except BoneAgeError:
            return self._page(checks=checks, snapshot=None)
        return self._page(
            checks=(*self.health.rounds(snapshot), *checks),
            snapshot=snapshot,
            backlogs=_backlogs(snapshot),
            peers=[_peer_row(peer, snapshot) for peer in self.peers()],
            jobs=[self._result_row(job) for job in jobs],
            chart=draw_days(arrived, now=self.now()),
            periodic=[
                (one.name, self._ago(one.succeeded_at, snapshot)) for one in snapshot.periodic
            ],
            last_result=self._ago(snapshot.last_result_at, snapshot),
            last_delivered=self._ago(snapshot.last_delivered_at, snapshot),
            disk=_disk_percent(self.health),
            constancy=self._phantom(snapshot),
            drift=[_drift_words(one) for one in snapshot.drift],
        )

    def _page(
        self, *, checks: Sequence[Check], snapshot: Snapshot | None, **more: object
    ) -> Response:
        values: dict[str, object] = {
            "refresh_seconds": REFRESH_SECONDS,
            "is_ok": all(check.is_ok for check in checks),
            "checks": checks,
            "snapshot": snapshot,
            "version": self.version,
            "release": self.release(),
            "made_at": f"{self.now():%Y-%m-%d %H:%M:%S}",
        }
        return self.pages.render("status.html", values | more)

    def _ago(self, at: datetime | None, snapshot: Snapshot) -> str:
        return f"{spoken(snapshot.at - at)} ago" if at is not None else "never"

    def _phantom(self, snapshot: Snapshot) -> tuple[str, str]:
        """Return when the phantom came back last, and what is to be said of it."""
        ended = (one.ended_at for one in snapshot.constancy if one.ended_at is not None)
        check = self.health.constancy.check(snapshot.constancy, snapshot.at)
        return self._ago(next(ended, None), snapshot), check.message

    def _result_row(self, job: JobView) -> ResultRow:
        return ResultRow(
            job_id=job.job_id,
            received=f"{job.received_at.astimezone(self.now().tzinfo):%d %b %H:%M}",
            calling_ae=job.calling_ae,
            state=job.state,
            what=_what(job),
            interval=_interval(job),
            sex=job.sex or "",
        )


def status_routes(page: StatusPage) -> list[Route]:
    """Return the address of the status page; it asks for no token."""

    def show(_request: Request) -> Response:
        return page.render()

    return [Route("/status", show)]


def _backlogs(snapshot: Snapshot) -> list[tuple[JobState, int, str]]:
    """Return every state with its count and, of what still moves, the age of the oldest."""
    return [
        (
            state,
            backlog.count,
            f"oldest {spoken(snapshot.at - backlog.oldest_at)}" if backlog.oldest_at else "",
        )
        for state, backlog in snapshot.jobs.items()
    ]


def _peer_row(peer: PeerSection, snapshot: Snapshot) -> PeerRow:
    roles = [name for name, has in (("sends", peer.sender), ("takes", peer.destination)) if has]
    figures = next((one for one in snapshot.destinations if one.destination == peer.name), None)
    echo = next((one for one in snapshot.echoes if one.peer == peer.name), None)
    state, words = _peer_state(figures, echo, snapshot) if peer.destination else ("idle", "")
    return PeerRow(
        name=peer.name,
        role=" and ".join(roles) or "not in use",
        state=state,
        words=words,
        waiting=figures.waiting.count if figures else 0,
        failed=figures.failed if figures else 0,
    )


def _peer_state(
    figures: DestinationFigures | None, echo: EchoFigures | None, snapshot: Snapshot
) -> tuple[str, str]:
    """Return the state and the words; what was sent counts more than what C-ECHO said."""
    if echo is not None and not echo.is_up:
        return "down", f"has not answered C-ECHO for {spoken(snapshot.at - echo.since)}"
    if figures is not None and figures.has_refused:
        return "down", "does not take what is sent"
    if figures is None or figures.last_taken_at is None:
        return ("up", "answers C-ECHO, nothing sent yet") if echo else ("idle", "nothing sent yet")
    taken_at = figures.last_taken_at or snapshot.at
    return "up", f"took an object {spoken(snapshot.at - taken_at)} ago"


def _drift_words(one: DriftFigures) -> tuple[str, str]:
    shift = shift_months(one)
    moved = f", moved by {shift:+.1f}" if shift is not None else ""
    who = {"F": "Girls", "M": "Boys"}.get(one.sex, one.sex)
    return who, f"{one.mean_months:+.1f} months on average over {one.count}{moved}"


def _what(job: JobView) -> str:
    if job.outcome is Outcome.ESTIMATED and job.bone_age_months is not None:
        years, months = divmod(round(job.bone_age_months), 12)
        return f"{job.bone_age_months:.1f} months ({years} y {months} m)"
    if job.outcome is Outcome.ESTIMATED:
        return "sex unknown: both values in the report"
    return job.reason or ""


def _interval(job: JobView) -> str:
    if job.interval_months is None or job.bone_age_months is None:
        return ""
    low, high = job.interval_months
    return f"{low:.0f} to {high:.0f}"


def _disk_percent(health: Health) -> float | None:
    try:
        return Disk.of(health.storage).used_percent
    except OSError:
        return None
