"""Peers and intake rules may change while the worker runs: SIGHUP reads the settings anew.

What is wrong in the new file leaves the old settings in force. Nothing that is open is closed: a
sender in the middle of a study goes on sending.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from schemas.config import Config
from schemas.errors import BoneAgeError
from worker.logs import log

RELOADED: Final = ("peer", "intake")  # all else is read at the start alone

#: called with the settings in force before and after; the second is None when they were refused
Audit = Callable[[Config, Config | None], None]


def hold_hangups() -> None:
    """Let SIGHUP wait until somebody here answers it; by default it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


class LiveSettings:
    """The settings of one process, as they are now."""

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        audit: Audit = lambda _before, _after: None,
    ) -> None:
        """``audit`` is told of each reload; its own failure changes nothing."""
        self._config = config
        self._load = load
        self._audit = audit
        self._followers: list[Callable[[Config], None]] = []
        self._asked = threading.Event()

    @property
    def config(self) -> Config:
        """Return the settings in force."""
        return self._config

    def follow(self, follower: Callable[[Config], None]) -> None:
        """Call ``follower`` with the settings each time that they have changed."""
        self._followers.append(follower)

    def reload_on_hangup(self) -> None:
        """Reload at each SIGHUP, in a thread of its own; call it from the main thread."""

        def _ask(_number: int, _frame: FrameType | None) -> None:
            self._asked.set()

        signal.signal(signal.SIGHUP, _ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see `hold_hangups`
        threading.Thread(target=self._serve, name="settings", daemon=True).start()

    def turns(self, stop: threading.Event) -> Iterator[tuple[Config, threading.Event]]:
        """Yield the settings, and an event that ends the work with them; again until ``stop``."""
        while not stop.is_set():
            over, config = threading.Event(), self._config
            self._followers.append(_Ending(over))
            threading.Thread(target=_pass_on, args=(stop, over), daemon=True).start()
            if config is not self._config:  # it changed in this very moment
                over.set()
            yield config, over
            self._followers.pop()

    def reload(self) -> bool:
        """Take new peers and rules into force; say whether that could be done."""
        before = self._config
        try:
            new = self._load()
        except BoneAgeError as error:
            log.error("settings.refused", code=error.code)
            self._tell(before, None)
            return False
        self._config = before.model_copy(update={key: getattr(new, key) for key in RELOADED})
        for follower in tuple(self._followers):
            follower(self._config)
        log.info("settings.reloaded", count=len(new.peer))
        for section in needing_restart(before, new):
            log.warning("settings.needs_restart", name=section)
        self._tell(before, new)
        return True

    def _serve(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            try:
                self.reload()
            except Exception:  # noqa: BLE001 - the next reload must find somebody
                log.exception("settings.not_reloaded")

    def _tell(self, before: Config, after: Config | None) -> None:
        try:
            self._audit(before, after)
        except BoneAgeError as error:
            log.warning("settings.not_audited", code=error.code)


class _Ending:
    """Ends the work with settings that are no longer those in force."""

    def __init__(self, over: threading.Event) -> None:
        self._over = over

    def __call__(self, _config: Config) -> None:
        self._over.set()


def needing_restart(before: Config, after: Config) -> tuple[str, ...]:
    """Return the sections that differ and are read at the start alone."""
    return tuple(
        key
        for key in Config.model_fields
        if key not in RELOADED and getattr(before, key) != getattr(after, key)
    )


def _pass_on(stop: threading.Event, over: threading.Event) -> None:
    """Set ``over`` with ``stop``; end when either is set."""
    while not over.wait(0.2):
        if stop.is_set():
            over.set()
