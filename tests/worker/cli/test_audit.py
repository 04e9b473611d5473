import csv
import json
from pathlib import Path

import pytest
from sqlalchemy import update

from schemas.tables import Result
from tests.worker.cli.conftest import Room, Run
from tests.worker.operations.syslog_server import SyslogServer
from tests.worker.queue.makers import arrival, send_all, settled
from worker.queue.database import writing


@pytest.fixture
def lived(room: Room) -> Room:
    settled(room.queue)
    send_all(room.outbox)
    room.queue.requeue(1, reason="once more")
    (room.root / "audit.key").write_bytes(b"k" * 32)
    return room


def test_events_are_narrowed_by_every_filter(lived: Room, run: Run) -> None:
    lived.queue.receive(arrival("1.2.9"))

    events = json.loads(run("audit", "list", "--event", "requeued", "--json"))
    assert [one["reason"] for one in events] == ["once more"]
    assert len(json.loads(run("audit", "list", "--job", "2", "--json"))) == 1
    assert json.loads(run("audit", "list", "--actor", "operator:x", "--json")) == []
    assert json.loads(run("audit", "list", "--until", "2026-01-04", "--json")) == []


@pytest.mark.usefixtures("lived")
def test_one_event_is_shown_with_its_seal(run: Run) -> None:
    assert "not yet" in run("audit", "show", "1")
    run("audit", "seal")

    shown = run("audit", "show", "1")
    assert "received" in shown
    assert "not yet" not in shown
    assert json.loads(run("audit", "show", "1", "--json"))["seal"]["position"] == 1
    assert "audit.no_such_event" in run("audit", "show", "99", expect=2)


@pytest.mark.usefixtures("lived")
def test_the_trail_is_exported_as_csv(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "trail.csv"

    told = run("audit", "export", "--out", str(out))

    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [row["event"] for row in rows][-2:] == ["requeued", "audit_exported"]
    assert f"{len(rows)} events were written" in told
    assert out.stat().st_mode & 0o777 == 0o600
    exported = json.loads(run("audit", "list", "--event", "audit_exported", "--json"))
    assert (exported[0]["detail"], exported[0]["reason"]) == ({"format": "csv"}, str(out))
    assert exported[0]["actor"].startswith("operator:")


def test_the_trail_is_exported_as_lines_for_programs(
    lived: Room,
    run: Run,
    tmp_path: Path,
) -> None:
    for form in ("jsonl", "dicom"):
        run("audit", "export", "--format", form, "--job", "1", "--out", str(tmp_path / form))

    events = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    messages = (tmp_path / "dicom").read_text().splitlines()
    assert [one["event"] for one in events][:2] == ["received", "claimed"]
    assert len(messages) == len(events)
    assert all(one.startswith("<AuditMessage>") for one in messages)
    assert lived.root.exists()


def test_the_trail_is_exported_to_a_syslog_server(lived: Room, run: Run) -> None:
    assert "audit.no_repository" in run("audit", "export", "--to-syslog", expect=2)
    with SyslogServer() as server, lived.settings.open("a") as settings:
        settings.write(
            f'[audit.syslog]\nhost = "127.0.0.1"\nport = {server.port}\nprotocol = "tcp"\n'
        )
        settings.flush()
        run("audit", "export", "--to-syslog", "--job", "1")

        assert b"DICOM+RFC3881" in server.lines(1)[0]


def test_a_changed_result_is_named(lived: Room, run: Run) -> None:
    run("audit", "seal")
    assert "whole up to the last seal" in run("audit", "verify")
    with writing(lived.engine) as session:
        session.execute(update(Result).values(bone_age_months=96.0))

    assert "Revision 1 of job 1 is not what was settled." in run("audit", "verify", expect=1)


def test_a_result_file_that_was_changed_is_found_unless_files_are_left_out(
    room: Room, run: Run
) -> None:
    (room.root / "audit.key").write_bytes(b"k" * 32)
    settled(room.queue, digests={"content.json": "a" * 64})
    file = room.root / "results" / "1" / "1" / "content.json"
    file.parent.mkdir(parents=True)
    file.write_text("changed")
    run("audit", "seal")

    (told,) = json.loads(run("audit", "verify", "--json", expect=1).partition("\n{")[0])
    assert (told["kind"], told["event_id"]) == ("file", 3)
    assert "results/1/1/content.json of job 1 is not what was written" in told["message"]
    assert "whole up to the last seal" in run("audit", "verify", "--no-files")
