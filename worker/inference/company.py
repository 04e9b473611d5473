"""Which images are read beside one another in one process, and by how many threads.

An image that ends its worker takes along the images beside it, and each of them looks as if it had
done that. So whatever comes back from an attempt that failed is read alone: the second worker that
ends is ended by this very image.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from threading import Condition, Event, Lock

from schemas.jobs import Claim


class Company:
    """The images in hand. One thread claims at a time, and it alone waits for work."""

    def __init__(self) -> None:
        self._door = Lock()  # held by whoever claims, or reads alone
        self._changed = Condition()
        self._inside = 0

    @contextmanager
    def taking(
        self, take: Callable[[], Claim | None], *, put_back: Callable[[Claim], None]
    ) -> Iterator[Claim | None]:
        """Claim a job and work on it inside the ``with``, beside others or alone.

        Args:
            take: claims the oldest job that is due.
            put_back: gives a claim back. One that has to be read alone is not held while the others
                are waited for: it would be lost with them.
        """
        with ExitStack() as place:
            door = place.enter_context(ExitStack())
            door.enter_context(self._door)
            claim, is_alone = self._claim(take, put_back)
            if not is_alone:
                place.enter_context(self._beside_others())
                door.close()
            yield claim

    def _claim(
        self, take: Callable[[], Claim | None], put_back: Callable[[Claim], None]
    ) -> tuple[Claim | None, bool]:
        """Return a claim, and whether it is worked on alone."""
        claim = take()
        if claim is None or not _must_be_alone(claim):
            return claim, claim is None
        if self._inside:
            put_back(claim)
            with self._changed:
                self._changed.wait_for(lambda: not self._inside)
            claim = take()  # nearly always the same
        return claim, True

    @contextmanager
    def _beside_others(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, by: int) -> None:
        with self._changed:
            self._inside += by
            self._changed.notify_all()


def _must_be_alone(claim: Claim) -> bool:
    """Say whether an attempt was lost already, or the next loss is the last."""
    return claim.attempt > 1 or claim.is_last_attempt


def side_by_side(work: Callable[[], None], *, count: int, stop: Event) -> None:
    """Do ``work`` in so many threads until all have ended; a single one is done in this thread.

    Raises:
        Exception: the first that one of them raised; ``stop`` was set, and the others have ended.
    """
    if count == 1:
        work()
        return
    with ThreadPoolExecutor(count, thread_name_prefix="reader") as pool:
        try:
            for ended in as_completed([pool.submit(work) for _ in range(count)]):
                ended.result()
        finally:
            stop.set()
