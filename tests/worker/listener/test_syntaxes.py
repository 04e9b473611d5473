"""Every SOP class and transfer syntax of the conformance statement, from two kinds of senders."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom.dsutils import split_dataset

from tests.builders import hand_pixels, hand_radiograph, write_file
from tests.worker.listener.conftest import Site
from tests.worker.listener.encoding import EXPLICIT, dataset, explicit
from tests.worker.listener.sending import LOOPBACK, encoded_file, store
from worker.listener.contexts import RADIOGRAPHS, SECONDARY_CAPTURES, TRANSFER_SYNTAXES
from worker.listener.spool import FileMeta

WRITTEN = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
#: nothing here encodes these; the listener does not look at the code stream
WRAPPED = (JPEGLSNearLossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)

#: storescu's options by syntax (DCMTK 3.6.7); it has none for HTJ2K
STORESCU = {
    ImplicitVRLittleEndian: "-xi",
    ExplicitVRLittleEndian: "-xe",
    ExplicitVRBigEndian: "-xb",
    DeflatedExplicitVRLittleEndian: "-xd",
    RLELossless: "-xr",
    JPEGBaseline8Bit: "-xy",
    JPEGExtended12Bit: "-xx",
    JPEGLosslessSV1: "-xs",
    JPEGLSLossless: "-xt",
    JPEG2000Lossless: "-xv",
}


def sent_file(path: Path, syntax: UID) -> Path:
    if syntax in WRAPPED:
        wrapped = hand_radiograph()
        wrapped.PixelData = encapsulate([b"a code stream" * 100])
        wrapped["PixelData"].VR = "OB"
        wrapped["PixelData"].is_undefined_length = True
        wrapped.file_meta.TransferSyntaxUID = syntax
        wrapped.save_as(path, enforce_file_format=True)
        return path
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    image = hand_radiograph(hand_pixels(bits=bits), BitsStored=bits)
    return write_file(image, path, transfer_syntax=syntax)


def dataset_bytes(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


def dcmtk(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is absent (Debian package dcmtk)")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_syntax_that_is_offered_is_tested() -> None:
    assert set(WRITTEN) | set(WRAPPED) == set(TRANSFER_SYNTAXES)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_file_is_kept_in_the_syntax_in_which_it_came(
    site: Site, tmp_path: Path, syntax: UID
) -> None:
    sent = sent_file(tmp_path / "sent.dcm", syntax)

    assert store(site.port, sent) == [0x0000]

    (kept,) = site.kept
    assert dataset_bytes(kept) == dataset_bytes(sent)
    found, expected = dcmread(kept), dcmread(sent)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found == expected


@pytest.mark.parametrize("sop_class_uid", sorted(RADIOGRAPHS | SECONDARY_CAPTURES))
def test_every_class_is_taken(site: Site, tmp_path: Path, sop_class_uid: str) -> None:
    meta = FileMeta(
        sop_class_uid=sop_class_uid, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT
    )
    pixels = explicit(0x7FE00010, "OW", bytes(100))
    content = dataset(sop_class_uid=sop_class_uid, after_study=pixels)

    assert store(site.port, encoded_file(tmp_path / "sent.dcm", content, meta)) == [0x0000]
    assert len(site.jobs) == 1


@pytest.mark.parametrize(
    ("syntax", "option"), STORESCU.items(), ids=[syntax.name for syntax in STORESCU]
)
def test_storescu_is_served_in_its_syntax(
    site: Site, tmp_path: Path, syntax: UID, option: str
) -> None:
    sent = sent_file(tmp_path / "sent.dcm", syntax)

    done = dcmtk(
        "storescu", option, "-aet", "PACS", "-aec", "BONEAGE", LOOPBACK, str(site.port), str(sent)
    )

    assert done.returncode == 0, done.stderr
    (kept,) = site.kept
    assert dcmread(kept).file_meta.TransferSyntaxUID == syntax
    assert dcmread(kept) == dcmread(sent)
    assert len(site.jobs) == 1


def test_echoscu_is_answered(site: Site) -> None:
    done = dcmtk("echoscu", "-aet", "PACS", "-aec", "BONEAGE", LOOPBACK, str(site.port))

    assert done.returncode == 0, done.stderr


def test_echoscu_under_a_strange_name_is_told_that_it_is_not_known(site: Site) -> None:
    done = dcmtk("echoscu", "-v", "-aet", "STRANGER", "-aec", "BONEAGE", LOOPBACK, str(site.port))

    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr
