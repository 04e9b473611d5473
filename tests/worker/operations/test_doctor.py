import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.config import CommitmentKind, Config, PeerSection
from tests.builders import hand_radiograph
from tests.fakes import FakePacs
from tests.orthanc import free_port
from worker.operations import doctor_disk, ports
from worker.operations.clocks import examine_clocks
from worker.operations.constancy_sink import ConstancySink
from worker.operations.doctor_disk import examine_disk
from worker.operations.doctor_ports import examine_ports
from worker.operations.findings import Examination, Finding, FindingState, examine, ok
from worker.operations.peer import PeerAwayError
from worker.operations.ports import family_of, is_free, is_held_by
from worker.operations.presence import presence, running
from worker.operations.probing import names_of, probe, shortcomings

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"


def states(findings: list[Finding]) -> dict[str, FindingState]:
    return {one.what: one.state for one in findings}


def test_an_examination_that_hangs_holds_up_nobody() -> None:
    never = threading.Event()
    hanging = Examination(what="disk", look=lambda: [ok("disk", f"{never.wait()}")], seconds=0.1)
    quick = Examination(what="release", look=lambda: [ok("release", "whole")])

    late, right = examine([hanging, quick])

    never.set()
    assert (late[0].state, right[0].state) == (FindingState.FAIL, FindingState.OK)
    assert "0 seconds" in late[0].found


def test_an_error_is_a_finding_with_its_mend() -> None:
    def missing() -> list[Finding]:
        raise FileNotFoundError(2, "No such file or directory", "/nowhere")

    ((found,),) = examine([Examination(what="disk", look=missing)])

    assert (found.state, found.found) == (
        FindingState.FAIL,
        "No such file or directory: /nowhere",
    )
    assert found.mend


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_that_this_process_holds_is_told_from_one_that_another_holds() -> None:
    with listening() as port:
        assert not is_free("127.0.0.1", port)
        assert is_held_by(port, family_of([os.getpid()]))
        assert is_held_by(port, []) is False
    assert is_free("127.0.0.1", port)


def test_who_may_not_look_into_the_storage_is_not_told_that_a_stranger_has_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may look everywhere
    with listening() as port:
        settings = {"storage": {"root": tmp_path}, "listener": {"port": port}}
        (found,) = examine_ports(Config.model_validate(settings))

    assert found.state is FindingState.WARN
    assert "as the user that the worker runs as" in found.mend


@contextmanager
def unit(port: int, root: Path, name: str) -> Iterator[int]:
    """A process of its own, present as ``name``, that holds ``port``."""
    code = f"""
import socket, sys
from pathlib import Path
from worker.operations.presence import presence
with socket.create_server(("127.0.0.1", {port})), presence(Path({str(root)!r}), {name!r}):
    print("here", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        yield process.pid
        process.communicate()


@pytest.mark.parametrize(
    ("process", "state"), [("listen", FindingState.OK), ("infer:cpu", FindingState.FAIL)]
)
def test_a_port_of_a_unit_whose_files_are_hidden_is_told_by_its_presence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str, state: FindingState
) -> None:
    port = free_port()
    settings = {"storage": {"root": tmp_path}, "listener": {"port": port}}
    with unit(port, tmp_path, process) as pid:
        # root sees all; another user does not
        monkeypatch.setattr(ports, "_open_files", lambda one: None if one == pid else [])
        (found,) = examine_ports(Config.model_validate(settings))

    assert found.state is state, found
    assert (f"process {pid}" in found.found) is (state is FindingState.OK)


def test_a_worker_is_present_for_as_long_as_it_holds_its_file(tmp_path: Path) -> None:
    with presence(tmp_path, "infer:cpu"):
        during = running(tmp_path)

    assert during == {"infer-cpu": os.getpid()}
    assert running(tmp_path) == {}


def on(root: Path) -> Config:
    marks = {"high_mark_percent": 100, "low_mark_percent": 99.9}
    return Config.model_validate({"storage": {"root": root, **marks}})


def test_the_flush_of_the_disk_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    found = examine_disk(on(tmp_path))

    fsync = next(one for one in found if one.what == "fsync")
    assert float(fsync.found.partition(" ms")[0]) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_flush_that_is_faster_than_any_disk_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_disk, "write_durably", lambda _path, _content: None)

    found = states(examine_disk(on(tmp_path)))

    assert found["fsync"] is FindingState.WARN


def test_a_storage_root_that_others_may_enter_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert states(examine_disk(on(tmp_path)))["storage rights"] is FindingState.WARN

    tmp_path.chmod(0o700)
    assert states(examine_disk(on(tmp_path)))["storage rights"] is FindingState.OK


def test_before_the_first_start_the_disk_is_looked_at_and_no_folder_made(tmp_path: Path) -> None:
    examine_disk(on(tmp_path / "var" / "boneage"))

    assert list(tmp_path.iterdir()) == []


def test_a_disk_beyond_its_high_mark_fails(tmp_path: Path) -> None:
    marks = {"high_mark_percent": 0.002, "low_mark_percent": 0.001}
    config = Config.model_validate({"storage": {"root": tmp_path, **marks}})

    assert states(examine_disk(config))["disk space"] is FindingState.FAIL


def peer_of(pacs: FakePacs, **settings: object) -> PeerSection:
    return PeerSection.model_validate(
        {"name": "pacs", "ae_title": pacs.ae_title, "port": pacs.port, **settings}
    )


def test_a_probe_tells_what_a_peer_takes_and_stores_nothing() -> None:
    with FakePacs(refused_classes={COMPREHENSIVE_SR}) as pacs:
        found = probe(peer_of(pacs), calling_ae="BONEAGE")

    assert found.echo_status == 0
    assert found.accepted[SECONDARY_CAPTURE] == ("explicit", "implicit")
    assert not found.takes(COMPREHENSIVE_SR)
    assert found.takes(STORAGE_COMMITMENT)
    assert names_of(found)["Comprehensive SR Storage"] == "no"
    assert pacs.requests == ()


def test_what_the_settings_want_and_a_peer_does_not_take_is_named() -> None:
    with FakePacs(refused_classes={SECONDARY_CAPTURE, COMPREHENSIVE_SR}) as pacs:
        strict = peer_of(pacs, sr_classes=["comprehensive"])
        found = probe(strict, calling_ae="BONEAGE")

    assert [one.partition(" that")[0] for one in shortcomings(strict, found)] == [
        "no Structured Report class",
        "no Secondary Capture",
    ]
    relaxed = peer_of(pacs, objects=["SR"])
    assert shortcomings(relaxed, found) == ()


def test_commitment_that_is_asked_of_a_peer_without_it_is_named() -> None:
    with ConstancySink() as sink:  # takes results, and knows nothing else
        wanted = {"commitment": CommitmentKind.STORAGE_COMMITMENT, "find_when_silent": True}
        peer = sink.peer.model_copy(update=wanted)
        found = probe(peer, calling_ae="BONEAGE")

    assert found.echo_status is None
    assert [one.partition(",")[0] for one in shortcomings(peer, found)] == [
        "no storage commitment",
        "no C-FIND (Study Root)",
    ]


def test_a_peer_that_is_away_or_has_no_name_is_an_error() -> None:
    with listening() as port:
        pass
    for host in ("127.0.0.1", "nobody.invalid"):
        peer = PeerSection(name="pacs", ae_title="PACS", host=host, port=port)
        with pytest.raises(PeerAwayError):
            probe(peer, calling_ae="BONEAGE", timeout_seconds=5)


def spooled(root: Path, *, day: str) -> None:
    dataset = hand_radiograph(ContentDate=day, ContentTime="120000")
    path = root / "spool" / "aa" / "image.dcm"
    path.parent.mkdir(parents=True)
    dataset.save_as(path, enforce_file_format=True)


def test_without_images_nothing_is_claimed_of_the_senders_clocks(tmp_path: Path) -> None:
    assert states(examine_clocks(tmp_path))["clocks of senders"] is FindingState.SKIPPED


@pytest.mark.parametrize(
    ("day", "state"), [("20200101", FindingState.OK), ("20990101", FindingState.WARN)]
)
def test_an_image_from_the_future_tells_of_a_wrong_clock(
    tmp_path: Path, day: str, state: FindingState
) -> None:
    spooled(tmp_path, day=day)

    assert states(examine_clocks(tmp_path))["clocks of senders"] is state
