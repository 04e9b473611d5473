"""A real Orthanc as the PACS of a test: a plain process on the loopback, in a folder of its own.

with Orthanc(tmp_path, modalities={"worker": Modality("BONEAGE", worker_port)},
             route_to="worker") as pacs:
    ...
    pacs.wait_for(lambda: len(pacs.instances(study_uid)) == 3)
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

EXECUTABLE = "Orthanc"
REQUIRE_PEERS = "BONEAGE_REQUIRE_PEERS"  #: set where a missing peer is a failure, not a skip

#: Orthanc and dcmtk have no option for the address they listen on. This makes "every address"
#: the loopback, so that a test PACS is never seen from outside.
_LOOPBACK_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int descriptor, const struct sockaddr *address, socklen_t length) {
  int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  struct sockaddr_in changed;
  if (address->sa_family == AF_INET && length >= sizeof changed) {
    memcpy(&changed, address, sizeof changed);
    if (changed.sin_addr.s_addr == htonl(INADDR_ANY)) {
      changed.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return next(descriptor, (const struct sockaddr *)&changed, sizeof changed);
    }
  }
  return next(descriptor, address, length);
}
"""

#: Sends each CR or DX that did not come from us to the worker. A job made by the REST interface,
#: because SendToModality of this Orthanc reports success even when nobody was there.
_ROUTING = """
function OnStoredInstance(id, tags, metadata, origin)
  if origin["RemoteAet"] == "%(own_ae)s" then return end
  if tags["Modality"] ~= "CR" and tags["Modality"] ~= "DX" then return end
  RestApiPost("/modalities/%(name)s/store",
              DumpJson({ Resources = { id }, Asynchronous = true }, true))
end
"""


@dataclass(frozen=True, slots=True)
class Modality:
    """Whom Orthanc knows: it may send there, and take associations from there."""

    ae_title: str
    port: int
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One instance that Orthanc holds."""

    identifier: str  #: Orthanc's own, for the REST interface
    sop_instance_uid: str
    sop_class_uid: str


class Orthanc:
    """Starts on entry, stops on exit; ``stop`` and ``start`` in between keep ports and contents."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ORTHANC",
        modalities: Mapping[str, Modality] | None = None,
        route_to: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """``route_to`` names one of ``modalities``; ``settings`` win over those made here."""
        self._executable = require_program(EXECUTABLE)
        self.ae_title = ae_title
        self.folder = folder
        self.port, self.http_port = free_port(), free_port()
        self._modalities = dict(modalities or {})
        self._route_to = route_to
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(), indent=1))
        environment = {**os.environ, "TCP_NODELAY": "1"}  # read by dcmtk, on which Orthanc stands
        shim = loopback_shim(self.folder)
        if shim is not None:
            environment["LD_PRELOAD"] = str(shim)
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._executable, str(configuration)], stdout=log, stderr=log, env=environment
            )
        self.wait_for(self._answers, limit_seconds=30)

    def stop(self) -> None:
        """End the process that ``start`` started; what it holds stays on disk."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)

    # asking it

    @property
    def pid(self) -> int:
        """Return the process that runs."""
        assert self._process is not None
        return self._process.pid

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON of a foreign program
        """Return what the REST interface says at ``path``."""
        return json.loads(self._request(path))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON of a foreign program
        """Send ``body`` as JSON and return the answer."""
        return json.loads(self._request(path, json.dumps(body).encode()))

    def upload(self, file: bytes) -> None:
        """Store a DICOM file through the REST interface."""
        self._request("/instances", file)

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        """Return what it holds of one study, whatever the kind."""
        found = self.post(
            "/tools/find",
            {
                "Level": "Instance",
                "Expand": True,
                "Query": {"StudyInstanceUID": study_instance_uid},
            },
        )
        return [
            StoredInstance(
                identifier=each["ID"],
                sop_instance_uid=each["MainDicomTags"]["SOPInstanceUID"],
                sop_class_uid=self._request(
                    f"/instances/{each['ID']}/metadata/SopClassUid"
                ).decode(),
            )
            for each in found
        ]

    def fetch(self, instance: StoredInstance) -> FileDataset:
        """Return one instance as it lies there."""
        return dcmread(BytesIO(self.fetch_bytes(instance)))

    def fetch_bytes(self, instance: StoredInstance) -> bytes:
        """Return the file of one instance."""
        return self._request(f"/instances/{instance.identifier}/file")

    def delete(self, instance: StoredInstance) -> None:
        """Let it lose one instance."""
        self._request(f"/instances/{instance.identifier}", method="DELETE")

    def empty(self) -> None:
        """Let it lose everything."""
        for patient in self.get("/patients"):
            self._request(f"/patients/{patient}", method="DELETE")

    def forget(self, study_instance_uids: Collection[str]) -> None:
        """Let it lose these studies, as far as it holds them."""
        for study in self.get("/studies?expand"):
            if study["MainDicomTags"]["StudyInstanceUID"] in study_instance_uids:
                self._request(f"/studies/{study['ID']}", method="DELETE")

    def count(self) -> int:
        """Return how many instances it holds in all."""
        return int(self.get("/statistics")["CountInstances"])

    def wait_for(self, condition: Callable[[], bool], *, limit_seconds: float = 60) -> None:
        """Return when ``condition()`` holds; fail at the limit, or when the process has ended."""
        wait_for(condition, limit_seconds=limit_seconds, while_true=self._require_alive)

    # its inside

    def _configuration(self) -> dict[str, Any]:
        scripts = []
        if self._route_to is not None:
            own_ae = self._modalities[self._route_to].ae_title
            script = self.folder / "route.lua"
            script.write_text(_ROUTING % {"own_ae": own_ae, "name": self._route_to})
            scripts.append(str(script))
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [],
            "LuaScripts": scripts,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": False,
            "OverwriteInstances": False,
            "JobsHistorySize": 1000,
            "StableAge": 1,
            "DicomModalities": {
                name: {
                    "AET": modality.ae_title,
                    "Host": modality.host,
                    "Port": modality.port,
                    "AllowStorageCommitment": True,
                }
                for name, modality in self._modalities.items()
            },
            **self._settings,
        }

    def _request(self, path: str, body: bytes | None = None, *, method: str | None = None) -> bytes:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        request = urllib.request.Request(address, data=body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            content: bytes = answer.read()
        return content

    def _answers(self) -> bool:
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _require_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            log = (self.folder / "orthanc.log").read_text(errors="replace")
            pytest.fail(f"Orthanc is not running; the end of its log:\n{log[-2000:]}")


def wait_for(
    condition: Callable[[], bool],
    *,
    limit_seconds: float = 60,
    while_true: Callable[[], object] = lambda: None,
) -> None:
    """Return when ``condition()`` holds; fail at the limit. For what gives no sign by itself."""
    pause = threading.Event()
    for _ in range(int(limit_seconds / 0.05)):
        if condition():
            return
        while_true()
        pause.wait(0.05)
    pytest.fail(f"still not so after {limit_seconds} s")


def require_program(name: str) -> str:
    """Return the path of a program of another project; skip (or fail) the test without it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        missing(f"{name} is not installed (Debian: apt-get install orthanc dcmtk dicom3tools)")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test; where peers are required, fail it."""
    if os.environ.get(REQUIRE_PEERS):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_listening(port: int) -> bool:
    """Say whether somebody answers at a port of the loopback."""
    try:  # a plain connection: pynetdicom leaves a socket open where nobody listens
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def loopback_shim(folder: Path) -> Path | None:
    """Return the compiled shim; without a C compiler none, and Orthanc itself rejects strangers."""
    compiler = shutil.which("cc")
    library = folder / "loopback.so"
    if compiler is None:
        return None
    if not library.exists():
        source = folder / "loopback.c"
        source.write_text(_LOOPBACK_SHIM)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
        )
    return library
