"""The OHIF viewer before a real Orthanc, in headless Chromium; `make viewer` fetches it."""

import http.client
import json
import mimetypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.orthanc import Orthanc, missing

FOLDER = Path(os.environ.get("BONEAGE_VIEWER", Path(__file__).parents[2] / ".viewer"))
_DIST = FOLDER / "package" / "dist"
_PLUGINS = Path("/usr/share/orthanc/plugins")
_THUMBNAILS = '[data-cy="study-browser-thumbnail"], [data-cy="study-browser-thumbnail-no-image"]'
# a guided tour of a first visit would lie over everything
_CONFIG = """localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));
window.config = {
  name: 'test', routerBasename: null, extensions: [], modes: [], customizationService: {},
  showStudyList: true, maxNumberOfWebWorkers: 2, showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false, investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'orthanc',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'orthanc',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/wado', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: true, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsWildcard: true,
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One object to open, and the words that say that it is shown."""

    name: str
    thumbnail: str  #: part of the words beside its thumbnail
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stood on the page."""

    name: str
    path: Path  #: the screenshot
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What a person does to a form, by CSS selector or by the words beside a choice."""

    files: dict[str, str]
    words: dict[str, str]
    choices: tuple[str, ...]
    button: str


def require_viewer() -> None:
    """Skip (or fail) the test where the viewer or a browser is absent."""
    _require({f"OHIF in {FOLDER}": _DIST / "index.html"})


def require_browser() -> None:
    """Skip (or fail) the test where there is no browser, or nothing that drives it."""
    _require({f"playwright-core in {FOLDER}": FOLDER / "node_modules" / "playwright-core"})


def _require(files: Mapping[str, Path]) -> None:
    lacking = [name for name in ("chromium", "node") if shutil.which(name) is None]
    lacking += [name for name, path in files.items() if not path.exists()]
    if lacking:
        missing(f"no {', no '.join(lacking)} (`make viewer`; Debian: chromium nodejs npm)")


def viewing_orthanc(folder: Path) -> Orthanc:
    """Return an Orthanc with DICOMweb and its own viewer, not yet started; else as above."""
    plugins = [_PLUGINS / f"libOrthanc{name}.so" for name in ("DicomWeb", "WebViewer")]
    absent = [plugin.name for plugin in plugins if not plugin.exists()]
    if absent:
        missing(f"no {absent} (Debian: orthanc-dicomweb orthanc-webviewer)")
    return Orthanc(
        folder,
        settings={
            "Plugins": [str(plugin) for plugin in plugins],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
            "WebViewer": {"CachePath": str(folder / "viewer-cache")},
        },
    )


def browse(
    address: str, folder: Path, *, words: Sequence[str] = (), form: Entries | None = None
) -> Seen:
    """Return what one page shows when it has settled, or the answer to the form on it."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"url": address, "folder": str(folder), "words": list(words)}
    (seen,) = _run(options | ({"form": asdict(form)} if form else {}))
    return seen


def open_in_ohif(
    pacs: Orthanc, study_instance_uid: str, folder: Path, looks: Sequence[Look]
) -> dict[str, Seen]:
    """Open objects of one study in OHIF, one after the other; return what each shows."""
    folder.mkdir(parents=True, exist_ok=True)
    with _served(pacs.http_port) as port:
        seen = _run(
            {
                "url": f"http://127.0.0.1:{port}/viewer?StudyInstanceUIDs={study_instance_uid}",
                "folder": str(folder),
                "thumbnails": _THUMBNAILS,
                "open": [asdict(look) for look in looks],
            }
        )
    return {one.name: one for one in seen}


def _run(options: dict[str, Any]) -> list[Seen]:
    options |= {
        "modules": str(FOLDER / "node_modules"),
        "browser": shutil.which("chromium"),
        "wait_ms": 180_000,  # on a busy machine; what is there ends the wait
        "rounds": 4,
        "settle_ms": 3_000,
    }
    script = Path(__file__).with_name("browse.js")
    ended = subprocess.run(
        ["node", str(script), json.dumps(options)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [
        Seen(name=one["name"], path=Path(one["path"]), text=one["text"])
        for one in json.loads(ended.stdout)
    ]


@contextmanager
def _served(orthanc_port: int) -> Iterator[int]:
    """Serve OHIF and, under the same address, Orthanc: a browser allows no other."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(("/dicom-web", "/wado", "/instances")):
                self._pass_on()
            elif path == "/app-config.js":
                self._answer(200, _CONFIG.encode(), "text/javascript")
            else:
                file = _DIST / path.lstrip("/")
                file = file if file.is_file() else _DIST / "index.html"
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                self._answer(200, file.read_bytes(), kind)

        def _pass_on(self) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", orthanc_port, timeout=60)
            wanted = {key: self.headers[key] for key in ("Accept", "Host") if key in self.headers}
            connection.request("GET", self.path, headers=wanted)
            answer = connection.getresponse()
            self._answer(answer.status, answer.read(), answer.getheader("Content-Type", ""))
            connection.close()

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    mimetypes.add_type("application/wasm", ".wasm")
    mimetypes.add_type("text/javascript", ".js")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
