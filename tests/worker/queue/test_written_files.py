import hashlib
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas.audit import AuditFault
from schemas.jobs import NewOutput, ObjectKind
from tests.fakes import Clock
from tests.worker.queue.makers import SC_CLASS, SR_CLASS, arrival, claimed, result, taken
from worker.operations.result_files import find_altered_files
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

CONTENTS = {"content.json": b"{}", "sc.dcm": b"page"}
REPORT = f"sr-{SR_CLASS}.dcm"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def trail(
    queue: JobQueue, outbox: Outbox, engine: Engine, clock: Clock, tmp_path: Path
) -> AuditTrail:
    """One result on disk: the files of inference, and the report that delivery built."""
    queue.receive(arrival())
    claim = claimed(queue)
    folder = tmp_path / "results" / "1" / "1"
    folder.mkdir(parents=True)
    for name, content in {**CONTENTS, REPORT: b"report"}.items():
        (folder / name).write_bytes(content)
    digests = {name: sha256(content) for name, content in CONTENTS.items()}
    queue.settle(claim, result(claim, digests=digests))
    _send(outbox, ObjectKind.SR, SR_CLASS, {REPORT: sha256(b"report")})
    _send(outbox, ObjectKind.SC, SC_CLASS, {})
    return AuditTrail(engine, now=clock)


def _send(outbox: Outbox, kind: ObjectKind, sop_class_uid: str, digests: dict[str, str]) -> None:
    claim = taken(outbox)
    assert claim.kind is kind
    uid = f"2.25.{kind.value.encode().hex()}"
    new = NewOutput(kind=kind, sop_class_uid=sop_class_uid, sop_instance_uid=uid)
    outbox.record_output(claim, new)
    outbox.mark_sent(claim, sop_instance_uid=uid, status=0, digests=digests)


def found(trail: AuditTrail, root: Path) -> dict[str, str]:
    problems = find_altered_files(root, trail.written_files)
    assert all(one.kind is AuditFault.FILE for one in problems)
    return {
        Path(one.message.partition(" ")[0]).name: one.message.partition(" of job 1 ")[2]
        for one in problems
    }


def test_files_that_are_what_was_written_are_no_problem(trail: AuditTrail, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    told = find_altered_files(
        tmp_path, trail.written_files, tell=lambda done, total: heard.append((done, total))
    )

    assert told == ()
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", [*CONTENTS, REPORT])
def test_a_file_that_was_changed_is_named(trail: AuditTrail, tmp_path: Path, name: str) -> None:
    (tmp_path / "results" / "1" / "1" / name).write_bytes(b"other")

    assert found(trail, tmp_path) == {name: "is not what was written."}


@pytest.mark.parametrize("name", [*CONTENTS, REPORT])
def test_a_file_that_is_gone_is_named(trail: AuditTrail, tmp_path: Path, name: str) -> None:
    (tmp_path / "results" / "1" / "1" / name).unlink()

    assert found(trail, tmp_path) == {name: "is missing."}


def test_what_retention_removed_meanwhile_is_not_missed(trail: AuditTrail, tmp_path: Path) -> None:
    listed = [trail.written_files(), ()]
    for path in (tmp_path / "results" / "1" / "1").iterdir():
        path.unlink()

    assert find_altered_files(tmp_path, lambda: listed.pop(0)) == ()
