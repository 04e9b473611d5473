import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from schemas.config import Config, ListenerSection, StorageSection
from tests.builders import hand_radiograph
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY
from worker.listener.scp import Listener
from worker.listener.spool import Spool
from worker.operations.configuration import load_config
from worker.operations.reloading import LiveSettings
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue

ONE_PEER = '[[peer]]\nname = "first"\nae_title = "FIRST"\ndestination = false\n'
TWO_PEERS = ONE_PEER + ONE_PEER.replace("first", "second").replace("FIRST", "SECOND")


class Site:
    """A listener that follows the settings in a file."""

    def __init__(self, folder: Path, listener: Listener, live: LiveSettings) -> None:
        self._file = folder / "config.toml"
        self.listener = listener
        self.live = live

    def write(self, text: str) -> None:
        self._file.write_text(text)

    def associate(self, calling_ae: str) -> Association:
        entity = AE(calling_ae)
        entity.add_requested_context("1.2.840.10008.5.1.4.1.1.1.1")
        return entity.associate("127.0.0.1", self.listener.port, ae_title="BONEAGE")


@pytest.fixture
def audited() -> list[bool]:
    """Whether each reload was taken, as the audit trail hears of it."""
    return []


@pytest.fixture
def site(tmp_path: Path, audited: list[bool]) -> Iterator[Site]:
    file = tmp_path / "config.toml"
    file.write_text(ONE_PEER)
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    config = load_config(file, environment={})
    queue = JobQueue(engine, now=Clock(), actor="listen", release="r1", retry=RETRY)
    storage = StorageSection(root=tmp_path, high_mark_percent=100, low_mark_percent=99)
    listener = Listener(
        ListenerSection(port=0), peers=config.peer, spool=Spool(storage), queue=queue
    )
    live = LiveSettings(
        config,
        load=lambda: load_config(file, environment={}),
        audit=lambda _before, after: audited.append(after is not None),
    )
    live.follow(lambda new: listener.follow(new.peer))
    listener.start()
    yield Site(tmp_path, listener, live)
    listener.stop()
    engine.dispose()


def radiograph(uid: str) -> Dataset:
    return hand_radiograph(SOPInstanceUID=uid)


def test_an_association_that_is_open_goes_on_over_a_reload(site: Site) -> None:
    sender = site.associate("FIRST")
    before = sender.send_c_store(radiograph("1.2.1")).Status
    stranger = site.associate("SECOND")
    site.write(TWO_PEERS)

    assert site.live.reload()

    newcomer = site.associate("SECOND")
    after = sender.send_c_store(radiograph("1.2.2")).Status
    statuses = (before, after, newcomer.send_c_store(radiograph("1.2.3")).Status)
    assert statuses == (0, 0, 0)
    assert stranger.is_rejected
    for one in (sender, newcomer):
        one.release()


def test_a_peer_that_was_taken_out_may_send_no_more(site: Site) -> None:
    sender = site.associate("FIRST")
    site.write(ONE_PEER.replace("FIRST", "OTHER"))

    site.live.reload()

    assert sender.send_c_store(radiograph("1.2.1")).Status == 0x0124
    assert site.associate("FIRST").is_rejected
    sender.release()


@pytest.mark.parametrize("broken", ["[[peer]\n", ONE_PEER + "port = 0\n", "[listner]\n"])
def test_a_broken_file_leaves_the_old_settings_in_force(
    site: Site, audited: list[bool], broken: str
) -> None:
    site.write(broken)

    is_taken = site.live.reload()

    assert (is_taken, audited) == (False, [False])
    sender = site.associate("FIRST")
    assert sender.is_established
    sender.release()


def test_what_is_read_at_the_start_alone_stays_as_it_is(site: Site, audited: list[bool]) -> None:
    site.write(TWO_PEERS + "[listener]\nport = 4\n")

    site.live.reload()

    assert site.live.config.listener.port == 11112
    assert len(site.live.config.peer) == 2
    assert audited == [True]


#: a process of its own: by default the signal ends whoever gets it, and it is for all of a process
_RELOADING = """
import os, sys, threading
from schemas.config import Config
from worker.operations.reloading import LiveSettings, hold_hangups

hold_hangups()
again = threading.Semaphore(0)
live = LiveSettings(Config(), load=Config)
live.follow(lambda _config: again.release())
os.write(int(sys.argv[1]), b"held\\n")
input()
live.reload_on_hangup()
for _ in range(2):
    assert again.acquire(timeout=20)
    os.write(int(sys.argv[1]), b"reloaded\\n")
os._exit(0)  # the thread that reloads may be writing to the log
"""


def test_each_hangup_signal_reloads_and_one_before_the_settings_are_read_waits() -> None:
    ours, theirs = os.pipe()  # of its own: the log would write between our words
    with (
        os.fdopen(ours) as said,
        subprocess.Popen(
            [sys.executable, "-c", _RELOADING, str(theirs)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
        ) as process,
    ):
        os.close(theirs)
        assert process.stdin is not None
        assert said.readline() == "held\n"
        process.send_signal(signal.SIGHUP)  # by default its end
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert said.readline() == "reloaded\n"
        process.send_signal(signal.SIGHUP)
        assert said.readline() == "reloaded\n"
        assert process.wait(20) == 0


def test_work_begins_anew_with_new_settings_and_ends_with_the_stop() -> None:
    stop = threading.Event()
    new = Config.model_validate({"peer": [{"name": "a", "ae_title": "A"}]})
    live = LiveSettings(Config(), load=lambda: new)
    seen = []
    for config, over in live.turns(stop):
        seen.append(len(config.peer))
        if len(seen) == 1:
            live.reload()
        else:
            stop.set()
        assert over.wait(20)

    assert seen == [0, 1]
