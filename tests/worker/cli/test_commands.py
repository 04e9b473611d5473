import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from models.phantom import draw_phantom
from schemas.images import Sex
from schemas.jobs import Arrival, DestinationView, ObjectKind, OutboxState
from tests.builders import hand_radiograph, write_file
from tests.fakes import FakePacs
from worker.app import audit, databases, queues
from worker.cli.application import application
from worker.cli.jobs_story import destination_row
from worker.cli.output import local_time
from worker.operations.configuration import load_config
from worker.queue.jobs import JobQueue

ROOT = Path(__file__).parents[3]

JOB_KEYS = [
    "job_id",
    "state",
    "outcome",
    "reason",
    "sop_instance_uid",
    "study_instance_uid",
    "calling_ae",
    "attempt",
    "revision",
    "received_at",
    "updated_at",
    "bone_age_months",
    "interval_months",
    "sex",
    "sex_source",
    "release",
    "destinations",
]


class Site:
    """An installation in a folder, and its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "config.toml"
        self.settings.write_text('[storage]\nroot = "storage"\n')

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "BONEAGE_CONFIG": str(self.settings)},
            check=False,
            timeout=200,
        )
        assert ended.returncode == expect, ended.stdout + ended.stderr
        return ended

    def queue(self) -> JobQueue:
        return queues.operator_queue(load_config(self.settings, environment={}))

    def receive(self, uid: str = "1.2.3") -> None:
        self.queue().receive(
            Arrival(
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
                study_instance_uid="1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="0" * 64,
                size_bytes=10,
                spool_file=f"spool/00/{uid}.dcm",
                calling_ae="PACS",
                called_ae="BONEAGE",
                peer_address="127.0.0.1",
            )
        )


@pytest.fixture
def bare_site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def site(bare_site: Site) -> Site:
    databases.prepare_database(load_config(bare_site.settings, environment={}))
    return bare_site


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


def add_peer(site: Site, pacs: FakePacs) -> None:
    with site.settings.open("a") as file:
        file.write(f'[[peer]]\nname = "pacs"\nae_title = "PACS"\nport = {pacs.port}\n')


def every_command(group: typer.Typer) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield command.callback.__doc__ or ""
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from every_command(inner.typer_instance)


def test_every_command_says_what_it_does_with_an_example() -> None:
    texts = list(every_command(application()))

    assert len(texts) > 20
    assert [text for text in texts if "boneage " not in text and "Example" not in text] == []


def help_texts(command: object, *path: str) -> Iterator[tuple[list[str], str]]:
    """Yield each text that a command and its options give, with the way to that command."""
    for described in (command, *getattr(command, "params", ())):
        yield list(path), getattr(described, "help", None) or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from help_texts(inner, *path, name)


def test_no_help_text_loses_what_stands_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 400)
    bracketed = [
        (path, words)
        for path, text in help_texts(typer.main.get_command(application()))
        for words in re.findall(r"\[[^\]]*\]", text)
    ]
    assert "[inference]" in [words for _, words in bracketed]

    for path, words in bracketed:
        assert words in CliRunner().invoke(application(), [*path, "--help"]).output, words


def test_an_operators_commands_do_not_load_torch() -> None:
    program = """
import sys
from worker.app import operators, processes
from worker.cli.application import application
application()
import worker.listener.process, worker.delivery.deliverer, worker.queue.jobs
from models.release.manifest import newest_release
print([name for name in ("torch", "timm", "lightning") if name in sys.modules])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert ended.stdout.strip() == "[]", ended.stderr


def test_a_list_of_jobs_has_the_promised_keys_in_their_order(site: Site) -> None:
    site.receive()

    (record,) = json.loads(site.run("jobs", "list", "--json").stdout)

    assert list(record) == JOB_KEYS
    assert record["state"] == "queued"
    assert record["calling_ae"] == "PACS"


def test_a_list_of_jobs_can_be_narrowed(site: Site) -> None:
    site.receive("1.2.3")
    site.receive("1.2.4")
    site.queue().cancel(1, reason="test")

    narrowed = json.loads(site.run("jobs", "list", "--state", "cancelled", "--json").stdout)

    assert [record["job_id"] for record in narrowed] == [1]
    tomorrow = f"{datetime.now(tz=UTC).year + 1}-01-01"
    assert json.loads(site.run("jobs", "list", "--since", tomorrow, "--json").stdout) == []


def test_a_job_is_shown_with_its_whole_life(site: Site) -> None:
    site.receive()

    shown = json.loads(site.run("jobs", "show", "1", "--json").stdout)

    assert list(shown)[: len(JOB_KEYS)] == JOB_KEYS
    assert [event["event"] for event in shown["events"]] == ["received"]


def test_without_a_database_the_command_says_what_to_run(bare_site: Site) -> None:
    ended = bare_site.run("jobs", "list", expect=1)

    assert "boneage db upgrade" in ended.stderr
    assert not (bare_site.folder / "storage").exists()


def test_a_job_that_is_not_there_is_wrong_usage(site: Site) -> None:
    assert "There is no job 7" in site.run("jobs", "show", "7", expect=2).stderr


def test_a_change_without_a_reason_is_wrong_usage(site: Site) -> None:
    site.receive()

    assert "--reason" in site.run("jobs", "cancel", "1", "--yes", expect=2).stderr


@pytest.mark.parametrize("move", ["requeue", "cancel"])
def test_an_empty_reason_is_wrong_usage(site: Site, move: str) -> None:
    site.receive()

    for reason in ("", " \t"):
        ended = site.run("jobs", move, "1", "--reason", reason, "--yes", expect=2)
        assert "say in a few words why" in ended.stderr
    assert [event.event for event in site.queue().events(1)] == ["received"]


@pytest.mark.parametrize("state", OutboxState)
def test_only_what_waits_for_a_try_or_for_its_proof_has_a_next_time(state: OutboxState) -> None:
    row = DestinationView(
        kind=ObjectKind.SR,
        destination="pacs",
        state=state,
        attempt=1,
        status=None,
        error=None,
        sop_instance_uid=None,
        sent_at=None,
        confirmed_at=None,
        run_after=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    )

    is_shown = any(local_time(row.run_after) == cell for cell in destination_row(row))

    assert is_shown == (state in {OutboxState.WAITING, OutboxState.SENT})


def test_a_change_is_not_made_where_nobody_can_be_asked(site: Site) -> None:
    site.receive()

    ended = site.run("jobs", "cancel", "1", "--reason", "test", expect=2)

    assert "--yes" in ended.stderr
    assert site.queue().job(1).state == "queued"


def test_a_change_stands_in_the_trail_with_reason_and_operator(site: Site) -> None:
    site.receive()
    site.run("jobs", "cancel", "1", "--reason", "a test image", "--yes")
    site.run("jobs", "requeue", "1", "--reason", "it was none", "--yes")

    events = json.loads(site.run("audit", "list", "--job", "1", "--json").stdout)

    reasons = [event["reason"] for event in events[1:]]
    assert reasons == ["a test image", "it was none"]
    assert all(event["actor"].startswith("operator:") for event in events[1:])


def test_an_event_that_was_changed_is_found(site: Site) -> None:
    site.receive()
    audit.audit_seal(load_config(site.settings, environment={})).make_key()
    site.run("audit", "seal")
    assert "whole" in site.run("audit", "verify").stdout
    engine = sa.create_engine(f"sqlite:///{site.folder / 'storage' / 'boneage.sqlite'}")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE job_events SET reason = 'never' WHERE id = 1"))
    engine.dispose()

    problems = json.loads(site.run("audit", "verify", "--json", expect=1).stdout)

    assert [problem["event_id"] for problem in problems] == [1]


def test_verifying_says_how_recent_the_last_seal_is(site: Site) -> None:
    site.receive()
    audit.audit_seal(load_config(site.settings, environment={})).make_key()
    assert "No seal is known" in site.run("audit", "verify").stdout
    site.run("audit", "seal")

    said = site.run("audit", "verify")
    for_machines = site.run("audit", "verify", "--json")

    assert re.search(r"Last seal: event 1, \d{4}-\d\d-\d\d .*, 0:00:\d\d ago", said.stdout)
    assert json.loads(for_machines.stdout) == []
    last = json.loads(for_machines.stderr)["last_seal"]
    assert last["event_id"] == 1
    assert 0 <= last["age_seconds"] < 60
    assert datetime.fromisoformat(last["sealed_at"]).tzinfo is not None


def test_an_anchor_that_is_damaged_is_listed_and_proves_nothing(site: Site) -> None:
    seal = audit.audit_seal(load_config(site.settings, environment={}))
    site.receive()
    seal.make_key()
    site.run("audit", "seal")
    seal.anchor.write_text("x")

    verified = site.run("audit", "verify", expect=1)

    assert "damaged" in verified.stdout
    assert "No seal is known" in verified.stdout


def test_wrong_settings_are_wrong_usage(site: Site) -> None:
    site.settings.write_text("[listener]\nprot = 1\n")

    ended = site.run("config", "check", expect=2)

    assert "line 2, listener.prot: there is no such setting; did you mean 'port'?" in ended.stderr


def test_a_password_in_the_settings_is_not_shown(site: Site) -> None:
    site.settings.write_text('[database]\nurl = "postgresql+psycopg://me:secret@host/boneage"\n')

    assert "secret" not in site.run("config", "show", "--json").stdout


def test_a_database_is_made_checked_and_backed_up(bare_site: Site) -> None:
    bare_site.run("db", "upgrade")

    assert "sound" in bare_site.run("db", "check").stdout
    bare_site.run("db", "backup", "--to", str(bare_site.folder / "copies"))
    assert len(list((bare_site.folder / "copies").glob("*.sqlite"))) == 1


def test_a_backup_is_put_back(bare_site: Site) -> None:
    bare_site.run("db", "upgrade")
    bare_site.run("db", "backup", "--to", str(bare_site.folder / "copies"))
    (copy,) = (bare_site.folder / "copies").glob("*.sqlite")
    (bare_site.folder / "storage" / "audit.anchor").write_text("as a worker leaves it")

    said = bare_site.run("db", "restore", str(copy), "--yes").stdout

    assert "sound" in said
    assert "audit.anchor.before-restore" in said
    assert "did not know: 0, queued again" in said
    assert "sound" in bare_site.run("db", "check").stdout


def test_what_is_no_backup_is_not_put_back(bare_site: Site) -> None:
    bare_site.run("db", "upgrade")
    wrong = bare_site.folder / "config.toml"

    bare_site.run("db", "restore", str(wrong), "--yes", expect=2)
    assert "sound" in bare_site.run("db", "check").stdout


def test_a_process_that_there_is_not_is_wrong_usage(site: Site) -> None:
    assert "Known: listen" in site.run("serve", "--only", "lissen", expect=2).stderr


def test_a_peer_that_is_there_answers_echo(site: Site, pacs: FakePacs) -> None:
    add_peer(site, pacs)

    (record,) = json.loads(site.run("peers", "echo", "--json").stdout)

    assert record["status"] == "0x0000"


def test_a_peer_that_is_away_is_exit_code_1(site: Site, pacs: FakePacs) -> None:
    add_peer(site, pacs)
    pacs.go_down()

    assert "nobody answers" in site.run("peers", "echo", "pacs", expect=1).stdout


def test_a_file_is_sent_to_a_peer(site: Site, pacs: FakePacs) -> None:
    add_peer(site, pacs)
    path = write_file(hand_radiograph(SOPInstanceUID="1.2.3"), site.folder / "hand.dcm")

    site.run("send", str(path), "--to", "pacs")

    assert list(pacs.stored) == ["1.2.3"]


def test_what_a_peer_does_not_take_is_exit_code_1(site: Site, pacs: FakePacs) -> None:
    add_peer(site, pacs)
    pacs.always_answer(0xA700)
    path = write_file(hand_radiograph(), site.folder / "hand.dcm")

    (record,) = json.loads(site.run("send", str(path), "--to", "pacs", "--json", expect=1).stdout)

    assert record["status"] == "0xA700"


def phantom_png(folder: Path) -> Path:
    path = folder / "hand.png"
    cv2.imwrite(str(path), draw_phantom(age_months=120, sex=Sex.FEMALE) // 16)
    return path


@pytest.mark.slow
def test_a_picture_without_a_sex_is_read_as_both(site: Site) -> None:
    path = phantom_png(site.folder)

    (record,) = json.loads(site.run("estimate", str(path), "--json").stdout)

    assert next(iter(record)) == "file"
    assert set(JOB_KEYS) <= set(record)
    assert record["bone_age_months"] is None
    assert [one["sex"] for one in record["estimates"]] == ["F", "M"]


@pytest.mark.slow
def test_an_estimate_writes_report_and_page(site: Site) -> None:
    path = phantom_png(site.folder)

    site.run("estimate", str(path), "--sex", "F", "--out", "results")

    names = {one.name for one in (site.folder / "results").iterdir()}
    ends = ("-sr.dcm", "-sc.dcm", "-sc.png", ".pdf", ".html")
    assert names == {f"hand{end}" for end in ends}


@pytest.mark.slow
def test_a_file_that_is_no_picture_does_not_stop_the_others(site: Site) -> None:
    (site.folder / "letter.png").write_text("Dear colleague")
    good = phantom_png(site.folder)

    records = json.loads(
        site.run("estimate", "letter.png", str(good), "--sex", "F", "--json", expect=1).stdout
    )

    assert [record["outcome"] for record in records] == ["refused", "estimated"]
    assert records[0]["reason"] == "unreadable_pixels"


@pytest.mark.slow
def test_the_demo_takes_the_phantom_round_the_whole_loop(site: Site) -> None:
    ended = site.run("demo")

    names = {one.name for one in (site.folder / "demo-out").iterdir()}
    assert names == {"phantom-sr.dcm", "phantom-sc.dcm", "phantom-sc.png"}
    assert "months: right" in ended.stdout


@pytest.mark.slow
def test_a_demo_with_something_that_is_no_hand_says_why_there_is_no_number(site: Site) -> None:
    blank = site.folder / "blank.png"
    cv2.imwrite(str(blank), draw_phantom(age_months=120, sex=Sex.FEMALE)[:64, :64] // 16)

    ended = site.run("demo", str(blank), "--sex", "F", expect=1)

    assert "Refused" in ended.stdout
