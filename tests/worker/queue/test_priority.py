from schemas.jobs import ObjectKind, OutboxOrder, Priority
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, arrival, claimed, result, settled, taken
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

ONE_REPORT = (OutboxOrder(kind=ObjectKind.SR, destination="PACS"),)


def order_of_claims(queue: JobQueue) -> list[str]:
    order = []
    while (claim := queue.claim(lease=LEASE)) is not None:
        order.append(claim.sop_instance_uid)
    return order


def test_an_urgent_image_is_read_before_what_came_shortly_before_it(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival("1.1", priority=Priority.LOW))
    queue.receive(arrival("1.2"))
    clock.forward(minutes=5)
    queue.receive(arrival("1.3", priority=Priority.HIGH))

    assert order_of_claims(queue) == ["1.3", "1.2", "1.1"]


def test_nobody_waits_for_ever_however_many_are_urgent(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival("1.1", priority=Priority.LOW))
    clock.forward(minutes=31)
    for uid in ("1.2", "1.3"):
        queue.receive(arrival(uid, priority=Priority.HIGH))

    assert order_of_claims(queue) == ["1.1", "1.2", "1.3"]


def test_an_image_that_is_tried_again_keeps_its_place(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival("1.1"))
    queue.retry(claimed(queue), code="gpu", message="busy")
    clock.forward(minutes=1)
    queue.receive(arrival("1.2"))

    assert order_of_claims(queue) == ["1.1", "1.2"]


def test_old_jobs_that_an_operator_requeues_do_not_delay_new_images(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival("1.1"))
    queue.fail(claimed(queue), code="x", message="y")
    clock.forward(days=30)
    queue.receive(arrival("1.2"))
    clock.forward(seconds=1)
    queue.requeue(1, reason="try again")

    assert order_of_claims(queue) == ["1.2", "1.1"]


def test_an_urgent_result_goes_out_first(queue: JobQueue, outbox: Outbox) -> None:
    queue.receive(arrival("1.1"))
    queue.receive(arrival("1.2", priority=Priority.HIGH))
    for _ in range(2):
        settled_next(queue)

    assert [taken(outbox).job_id for _ in range(2)] == [2, 1]


def test_an_object_that_was_put_off_goes_before_younger_ones(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue, uid="1.1", orders=ONE_REPORT)
    outbox.retry(taken(outbox), delay=LEASE, status=0xA700, error="full")
    clock.forward(minutes=3)
    settled(queue, uid="1.2", orders=ONE_REPORT)

    assert taken(outbox).job_id == 1


def settled_next(queue: JobQueue) -> None:
    claim = claimed(queue)
    queue.settle(claim, result(claim, orders=ONE_REPORT))
