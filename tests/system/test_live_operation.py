"""One worker with jobs, failures and refusals in it: what people see, and what they never do."""

import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from models.phantom import draw_phantom
from schemas.images import Sex
from schemas.jobs import JobState
from tests.builders import hand_radiograph
from tests.fakes import FakePacs
from tests.orthanc import free_port, wait_for
from tests.system.running import RunningWorker
from worker.inference.pictures import Wrapping, wrap_as_radiograph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: in every attribute that could identify a child; none of it may come out anywhere
CANARIES = ("Kanarienvogel", "CANARY-ID-4711", "ACCESSION-CANARY", "19990131", "1999-01-31")
PAGES = ("/livez", "/healthz", "/readyz", "/metrics", "/status")


def with_canaries(dataset: Dataset, *, uid: str) -> Dataset:
    dataset.PatientName = "Kanarienvogel^Klara"
    dataset.PatientID = "CANARY-ID-4711"
    dataset.PatientBirthDate = "19990131"
    dataset.AccessionNumber = "ACCESSION-CANARY"
    dataset.ReferringPhysicianName = "Kanarienvogel^Doktor"
    dataset.InstitutionName = "Kanarienvogel Hospital"
    dataset.StudyDescription = "bone age Kanarienvogel"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20090131"
    return dataset


def images(folder: Path) -> list[Path]:
    """Write one image that is read, one that is refused, one that no rule wants."""
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE)
    drawn[0, 0] += 1  # not the phantom's digest, so the gate looks at it as at any image
    read = wrap_as_radiograph(
        drawn,
        Wrapping(taken_at=datetime(2009, 1, 31, 12, tzinfo=UTC), sex=Sex.FEMALE, bits_stored=12),
    )
    unwanted = with_canaries(hand_radiograph(), uid="2.25.3")
    unwanted.StudyDescription = "trauma Kanarienvogel"
    datasets = (
        with_canaries(read, uid="2.25.1"),
        with_canaries(hand_radiograph(), uid="2.25.2"),
        unwanted,
    )
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


class Hook:
    """A webhook that keeps what it gets."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def keys(self) -> set[str]:
        told = [json.loads(body) for body in self.bodies]
        return {one["key"] for body in told for one in body["begun"]}


@dataclass(frozen=True, kw_only=True)
class Live:
    """A worker that is running, with its PACS, its webhook and its web page."""

    worker: RunningWorker
    pacs: FakePacs
    hook: Hook
    http_port: int

    def page(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}") as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            with error:
                return str(error.read().decode())

    def log(self) -> str:
        return self.worker.log_file.read_text(errors="replace")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    hook, http_port = Hook(), free_port()
    with (
        FakePacs(refused_classes={"1.2.840.10008.5.1.4.1.1.7"}) as pacs,
        RunningWorker(folder / "worker", pacs_ae="PACS", pacs_port=pacs.port) as worker,
    ):
        with worker.settings_file.open("a") as file:
            file.write(
                f"[http]\nenabled = true\nport = {http_port}\n"
                f'[notify]\nwebhook_url = "http://127.0.0.1:{hook.server.server_port}/"\n'
                "collect_seconds = 1\n"
            )
        worker.start()
        yield Live(worker=worker, pacs=pacs, hook=hook, http_port=http_port)
    hook.server.shutdown()
    hook.server.server_close()


def test_the_phantom_goes_the_whole_round_and_no_pacs_hears_of_it(live: Live) -> None:
    found = live.worker.json("selftest")

    assert found["is_right"], found
    assert found["destinations"] == ["constancy"]
    assert live.pacs.requests == ()
    constancy = json.loads(live.page("/readyz"))["checks"][-1]
    assert constancy["name"] == "constancy"
    assert "known" in constancy["message"]
    assert "boneage_constancy_ok 1.0" in live.page("/metrics")


def test_the_doctor_knows_our_own_ports_and_names_what_a_peer_does_not_take(live: Live) -> None:
    ended = live.worker.command("doctor", "--json")

    found = {one["what"]: one for one in json.loads(ended.stdout)}
    assert ended.returncode == 1
    assert {what for what, one in found.items() if one["state"] == "fail"} == {"peer pacs"}
    assert "Secondary Capture" in found["peer pacs"]["found"]
    assert "held by this worker" in found["port of listen"]["found"]
    assert "held by this worker" in found["port of http"]["found"]
    assert found["phantom cpu"]["state"] == "ok"
    assert found["worker"]["state"] == "ok"


def test_a_hangup_takes_a_new_peer_into_force_and_a_broken_file_changes_nothing(
    live: Live,
) -> None:
    text = live.worker.settings_file.read_text()
    more = text + '\n[[peer]]\nname = "late"\nae_title = "LATE"\ndestination = false\n'
    live.worker.settings_file.write_text(more)
    told = live.worker.command("config", "reload")
    wait_for(lambda: live.log().count("settings.reloaded") >= 6, limit_seconds=60)
    live.worker.settings_file.write_text(more + "\nnonsense\n")
    os.kill(live.worker.pid, signal.SIGHUP)
    wait_for(lambda: "settings.refused" in live.log(), limit_seconds=60)
    live.worker.settings_file.write_text(text)

    assert "serve (process" in told.stdout
    trail = live.worker.json("audit", "list")
    assert {"settings_reloaded", "settings_refused"} <= {one["event"] for one in trail}


def test_nothing_that_identifies_a_child_comes_out_anywhere(live: Live) -> None:
    assert live.worker.send(*images(live.worker.folder)) == [0, 0, 0]
    live.worker.wait_for_jobs(JobState.IGNORED, count=1)
    live.worker.wait_for_jobs(JobState.FAILED, count=2)  # the PACS takes no Secondary Capture
    wait_for(lambda: "failed_jobs" in live.hook.keys, limit_seconds=60)

    seen = {path: live.page(path) for path in PAGES}
    seen |= {"log": live.log(), "webhook": "\n".join(live.hook.bodies)}
    seen |= {
        " ".join(words): live.worker.command(*words).stdout
        for words in (("jobs", "list"), ("audit", "list"), ("config", "show"))
    }
    found = [
        (where, canary)
        for where, text in seen.items()
        for canary in CANARIES
        if re.search(canary, text, re.IGNORECASE)
    ]
    assert found == []
    assert "2.25.1" not in seen["log"] + seen["/status"] + seen["/metrics"] + seen["webhook"]
    assert all(seen.values())


def test_a_restore_in_the_middle_of_traffic_forgets_no_image_that_was_acknowledged(
    live: Live,
) -> None:
    sent = trauma_images(live.worker.folder, count=12)
    assert set(live.worker.send(*sent.values())) == {0}
    saved = live.worker.command("db", "backup")
    later = trauma_images(live.worker.folder, count=24, start=12)
    answers: list[int | None] = []
    sending = Thread(target=lambda: answers.extend(live.worker.send(*later.values())))
    sending.start()
    backup = saved.stdout.partition("The back-up is ")[2].strip().rstrip(".")
    restored = live.worker.command("db", "restore", backup, "--yes")
    sending.join()

    assert restored.returncode == 0, restored.stderr
    taken = [uid for uid, status in zip(later, answers, strict=True) if status == 0]
    assert taken
    recovered = live.worker.command("db", "restore", backup, "--yes")  # what came during the first
    assert recovered.returncode == 0, recovered.stderr
    wanted = {*sent, *taken}
    wait_for(
        lambda: wanted <= {one.sop_instance_uid for one in live.worker.jobs(JobState.IGNORED)},
        limit_seconds=120,
    )


def trauma_images(folder: Path, *, count: int, start: int = 0) -> dict[str, Path]:
    """Write images that no rule wants, each another instance."""
    paths = {}
    for number in range(start, start + count):
        dataset = with_canaries(hand_radiograph(), uid=f"2.25.100.{number}")
        dataset.StudyDescription = "trauma"
        path = folder / f"trauma-{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths[str(dataset.SOPInstanceUID)] = path
    return paths


def test_the_trail_says_when_each_process_began_and_how_it_ended(live: Live) -> None:
    processes = ("serve", "listen", "infer:cpu", "deliver", "schedule", "http")
    wait_for(lambda: "inference.ready" in live.log(), limit_seconds=400)  # alone, it loads first
    began = applications(live, "process_started")
    killed = next(name for name in began if name.startswith("deliver@"))
    os.kill(int(killed.rpartition(":")[2]), signal.SIGKILL)
    wait_for(lambda: len(applications(live, "process_started")) > len(began), limit_seconds=120)

    assert live.worker.stop() == 0

    assert sorted(map(kind, began)) == sorted(processes)
    assert applications(live, "process_fell") == [killed]
    assert sorted(map(kind, applications(live, "process_stopped"))) == sorted(processes)


def applications(live: Live, event: str) -> list[str]:
    found = live.worker.json("audit", "list", "--event", event)
    return [str(one["detail"]["application"]) for one in found]


def kind(application: str) -> str:
    return application.partition("@")[0]
