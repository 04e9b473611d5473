"""`boneage peers` typed at a real Orthanc."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import Clock, FakePacs
from tests.orthanc import Orthanc, free_port
from tests.worker.queue.conftest import empty_sqlite
from worker.cli.application import main
from worker.queue.database import open_engine, sqlite_url
from worker.queue.outbox import Outbox

__all__ = ["empty_sqlite"]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("silence_libraries", "configure_logging"):
        monkeypatch.setattr(f"worker.cli.options.{name}", lambda **_: None)


def run(capsys: pytest.CaptureFixture[str], settings: Path, *words: str) -> tuple[int, str]:
    """Type the command as an operator does; return its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--config", str(settings)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, orthanc: Orthanc, empty_sqlite: Path) -> Path:
    """The settings of an installation with a PACS, and an archive that is away."""
    (tmp_path / "storage").mkdir()
    shutil.copy(empty_sqlite, tmp_path / "storage")
    file = tmp_path / "config.toml"
    file.write_text(
        '[storage]\nroot = "storage"\n'
        f'[[peer]]\nname = "pacs"\nae_title = "ORTHANC"\nport = {orthanc.port}\n'
        f'[[peer]]\nname = "archive"\nae_title = "ARCHIVE"\nport = {free_port()}\n'
    )
    return file


def test_a_probe_shows_and_remembers_what_orthanc_takes_and_stores_nothing(
    settings: Path, orthanc: Orthanc, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run(capsys, settings, "peers", "probe", "pacs", "--json")

    (found,) = json.loads(printed)
    assert (code, found["status"], found["lacks"], found["error"]) == (0, "0x0000", [], None)
    assert found["accepted"]["Comprehensive SR Storage"] != "no"
    assert found["is_remembered"]
    engine = open_engine(sqlite_url(settings.parent / "storage"))
    box = Outbox(engine, now=Clock(), actor="test")
    assert box.accepted_classes("pacs")[COMPREHENSIVE_SR]
    engine.dispose()
    assert orthanc.count() == 0


def test_a_probe_of_all_says_of_each_how_it_stands(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run(capsys, settings, "peers", "probe")

    assert code == 1
    assert "Comprehensive SR Storage" in printed
    assert printed.count("Lacks") == 1  # of who is away nothing is known
    assert "archive" in printed
    assert "no answer" in printed


def test_what_the_settings_want_and_a_pacs_does_not_take_is_named(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakePacs(refused_classes={SECONDARY_CAPTURE}) as pacs:
        settings.write_text(f'[[peer]]\nname = "pacs"\nae_title = "PACS"\nport = {pacs.port}\n')
        code, printed = run(capsys, settings, "peers", "probe", "pacs")

    assert code == 1
    assert "no Secondary Capture" in printed


def test_an_echo_names_who_is_away(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = run(capsys, settings, "peers", "echo", "--json")

    told = {one["peer"]: one["status"] for one in json.loads(printed)}
    assert (code, told) == (1, {"pacs": "0x0000", "archive": None})


def test_a_peer_that_there_is_not_is_wrong_usage(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run(capsys, settings, "peers", "probe", "nobody")

    assert code == 2
    assert "Known: pacs, archive" in printed
