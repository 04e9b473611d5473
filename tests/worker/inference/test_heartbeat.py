import threading
from datetime import timedelta

import pytest

from schemas.errors import LeaseLostError
from schemas.jobs import Claim
from tests.fakes import Clock
from worker.inference.heartbeat import Heartbeat, Limits

LEASE = timedelta(milliseconds=30)
CLAIM = Claim(
    job_id=1,
    token="t" * 32,
    attempt=1,
    lease_ends_at=Clock()(),
    sop_instance_uid="1.2.3",
    study_instance_uid="1.2",
    calling_ae="PACS",
    release="stub",
    revision=1,
    reception_id=1,
    spool_file="spool/1.dcm",
    former_spool_file=None,
    predecessors=(),
    is_last_attempt=False,
    received_at=Clock()(),
)


class Keeper:
    """A queue that records signs of life, and may refuse some of them."""

    def __init__(self, *errors: Exception) -> None:
        self.renewals = 0
        self.releases = 0
        self.overdue = 0
        self.changed = threading.Condition()
        self._errors = list(errors)

    def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
        assert lease == LEASE
        with self.changed:
            self.renewals += 1
            self.changed.notify_all()
            if self._errors:
                raise self._errors.pop(0)
        return claim

    def release(self, _claim: Claim) -> None:
        with self.changed:
            self.releases += 1
            self.changed.notify_all()

    def take_overdue(self, _claim: Claim, *, deadline: timedelta) -> None:
        assert deadline > timedelta()
        self.overdue += 1

    def wait_until(self, *, renewals: int = 0, releases: int = 0) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: self.renewals >= renewals and self.releases >= releases, 20
            )


def never() -> None:
    raise AssertionError("the work was taken for stuck")


def heartbeat(
    keeper: Keeper, *, stop: threading.Event | None = None, grace_seconds: float = 60
) -> Heartbeat:
    limits = Limits(lease=LEASE, grace_seconds=grace_seconds)
    return Heartbeat(keeper, CLAIM, limits=limits, stop=stop or threading.Event(), on_stuck=never)


def test_a_lease_is_renewed_as_long_as_the_work_goes_on() -> None:
    keeper = Keeper()

    with heartbeat(keeper):
        keeper.wait_until(renewals=3)

    assert keeper.releases == 0


def test_a_database_that_is_away_for_a_moment_costs_no_lease() -> None:
    keeper = Keeper(OSError("away"), OSError("still away"))

    with heartbeat(keeper):
        keeper.wait_until(renewals=4)

    assert keeper.renewals >= 4


def test_a_lost_lease_is_not_fought_for() -> None:
    keeper = Keeper(LeaseLostError(what="job", row_id=1))

    with heartbeat(keeper) as beating:
        keeper.wait_until(renewals=1)
        beating._thread.join(20)  # noqa: SLF001 - that it ends is the point

    assert keeper.renewals == 1


def test_a_stop_gives_the_claim_back_when_the_grace_period_ends() -> None:
    keeper, stop = Keeper(), threading.Event()

    with heartbeat(keeper, stop=stop, grace_seconds=0):
        stop.set()
        keeper.wait_until(releases=1)

    assert keeper.releases == 1


def test_a_stop_within_the_grace_period_lets_the_work_finish() -> None:
    keeper, stop = Keeper(), threading.Event()
    stop.set()

    with heartbeat(keeper, stop=stop, grace_seconds=60):
        keeper.wait_until(renewals=2)

    assert keeper.releases == 0


def test_work_that_hangs_loses_its_lease_and_ends_the_process() -> None:
    keeper, is_ended = Keeper(), threading.Event()
    limits = Limits(lease=LEASE, deadline=timedelta(milliseconds=100))

    with Heartbeat(
        keeper, CLAIM, limits=limits, stop=threading.Event(), on_stuck=is_ended.set
    ) as beating:
        assert is_ended.wait(20)
        beating._thread.join(20)  # noqa: SLF001 - that it ends is the point
        renewals = keeper.renewals

    assert keeper.renewals == renewals
    assert (keeper.releases, keeper.overdue) == (0, 1)


def test_a_claim_that_is_being_settled_is_not_renewed_but_still_watched() -> None:
    keeper, is_stuck = Keeper(), threading.Event()
    limits = Limits(lease=LEASE, deadline=timedelta(milliseconds=300))

    with Heartbeat(
        keeper, CLAIM, limits=limits, stop=threading.Event(), on_stuck=is_stuck.set
    ) as beating:
        beating.rest()
        renewals = keeper.renewals
        assert is_stuck.wait(20)  # many beats later

    assert (keeper.renewals, keeper.releases) == (renewals, 0)


def test_a_claim_that_is_being_settled_is_not_given_back() -> None:
    keeper, stop = Keeper(), threading.Event()

    with heartbeat(keeper, stop=stop, grace_seconds=0) as beating:
        beating.rest()
        stop.set()
        beating._thread.join(20)  # noqa: SLF001 - it has nothing left to do

    assert keeper.releases == 0


def test_settling_waits_for_a_renewal_that_is_under_way() -> None:
    is_renewing, may_end, ended = threading.Event(), threading.Event(), list[str]()

    class SlowKeeper(Keeper):
        def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
            is_renewing.set()
            assert may_end.wait(20)
            ended.append("renewal")
            return super().renew(claim, lease=lease)

    with heartbeat(SlowKeeper()) as beating:

        def rest() -> None:
            beating.rest()
            ended.append("rest")

        assert is_renewing.wait(20)
        resting = threading.Thread(target=rest)
        resting.start()
        resting.join(0.05)
        may_end.set()
        resting.join(20)

    assert ended[-1] == "rest"
    assert ended.count("renewal") >= 1


def test_an_error_of_the_work_flies_past() -> None:
    keeper = Keeper()

    with pytest.raises(ZeroDivisionError), heartbeat(keeper):
        raise ZeroDivisionError
