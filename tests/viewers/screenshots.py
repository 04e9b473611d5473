"""`make screenshots`: the phantom's result as viewers show it, into deploy/docs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from pydicom import dcmread

from models.release.manifest import read_manifest
from schemas.config import Config
from tests.viewers.ohif import Look, browse, open_in_ohif, require_viewer, viewing_orthanc
from worker.app import readers, releases
from worker.operations.demo import phantom_file
from worker.operations.estimation import read_file, write_objects

DOCS = Path(__file__).parents[2] / "deploy" / "docs"
LARGEST_BYTES = 300_000


def main() -> None:
    """Read the phantom with the release that ships, and take the pictures."""
    require_viewer()
    config = Config()
    with TemporaryDirectory() as name:
        folder = Path(name)
        release = releases.release_folder(config)
        image = phantom_file(folder, read_manifest(release)[0].phantom).path
        reader = readers.image_reader(config, installation_id="screenshots", device="cpu")
        written = write_objects(read_file(image, reader, sex=None), folder)
        _shrink(written[2], DOCS / "page.png")
        with viewing_orthanc(folder / "orthanc") as pacs:
            for path in (image, *written[:2]):
                pacs.upload(path.read_bytes())
            looks = [
                Look(name="sr", thumbnail="Bone age AI report", words=("XR Bone age: ",)),
                Look(name="sc", thumbnail="Bone age AI page"),
            ]
            study = dcmread(image).StudyInstanceUID
            for look, seen in open_in_ohif(pacs, study, folder / "seen", looks).items():
                _shrink(seen.path, DOCS / f"ohif-{look}.png")
            for series in pacs.get("/series"):
                if pacs.get(f"/series/{series}")["MainDicomTags"]["Modality"] == "OT":
                    viewer = f"http://127.0.0.1:{pacs.http_port}/web-viewer/app/viewer.html"
                    seen = browse(f"{viewer}?series={series}", folder / "seen")
                    _shrink(seen.path, DOCS / "orthanc-sc.png")


def _shrink(source: Path, target: Path) -> None:
    """Write a picture with so many colours as fit into the size that is allowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(source).convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
        if target.stat().st_size <= LARGEST_BYTES:
            return


if __name__ == "__main__":
    main()
