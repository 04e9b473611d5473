"""Real radiographs as a hospital would send them: DX and CR, many transfer syntaxes."""

import csv
import subprocess
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.builders import hand_radiograph, real_file, real_hand, write_file
from tests.orthanc import require_program

CANARY_NAME = "Canaryson^Johanna"
CANARY_ID = "CANARY-471147"
_TAKEN = date(2026, 1, 5)

#: what dcmtk's storescu is told, so that it sends a file in its own syntax
_STORESCU_OPTION = {
    ExplicitVRLittleEndian: "-xe",
    ImplicitVRLittleEndian: "-xi",
    ExplicitVRBigEndian: "-xb",
    DeflatedExplicitVRLittleEndian: "-xd",
    RLELossless: "-xr",
    JPEGBaseline8Bit: "-xy",
    JPEGLosslessSV1: "-xs",
    JPEGLSLossless: "-xt",
    JPEG2000Lossless: "-xv",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How one real image is wrapped."""

    image: str
    modality: str
    transfer_syntax: UID
    photometric_interpretation: str = "MONOCHROME2"


#: sixteen files of fourteen children; the last two are inverted twins of others
SENDINGS = (
    Sending(image="rsna_full/14735.png", modality="DX", transfer_syntax=ExplicitVRLittleEndian),
    Sending(image="rsna_full/1423.png", modality="CR", transfer_syntax=ImplicitVRLittleEndian),
    Sending(image="rsna_full/1382.png", modality="DX", transfer_syntax=JPEGLosslessSV1),
    Sending(image="rsna_full/1384.png", modality="CR", transfer_syntax=JPEGLSLossless),
    Sending(image="rsna_full/1385.png", modality="DX", transfer_syntax=JPEG2000Lossless),
    Sending(image="rsna_full/1396.png", modality="CR", transfer_syntax=RLELossless),
    Sending(image="rsna_full/1418.png", modality="DX", transfer_syntax=JPEGBaseline8Bit),
    Sending(
        image="rsna_full/1514.png", modality="DX", transfer_syntax=DeflatedExplicitVRLittleEndian
    ),
    Sending(image="rsna_half/14729.webp", modality="CR", transfer_syntax=ExplicitVRBigEndian),
    Sending(
        image="rsna_half/11880.webp",
        modality="DX",
        transfer_syntax=JPEGLosslessSV1,
        photometric_interpretation="MONOCHROME1",
    ),
    Sending(
        image="rsna_half/2882.webp",
        modality="CR",
        transfer_syntax=RLELossless,
        photometric_interpretation="MONOCHROME1",
    ),
    Sending(image="rsna_half/2461.webp", modality="DX", transfer_syntax=ImplicitVRLittleEndian),
    Sending(image="rsna_half/4116.webp", modality="CR", transfer_syntax=JPEG2000Lossless),
    Sending(image="rsna_half/11975.webp", modality="DX", transfer_syntax=JPEGLSLossless),
    Sending(
        image="rsna_full/14735.png",
        modality="DX",
        transfer_syntax=ExplicitVRLittleEndian,
        photometric_interpretation="MONOCHROME1",
    ),
    Sending(
        image="rsna_full/1384.png",
        modality="CR",
        transfer_syntax=JPEGLosslessSV1,
        photometric_interpretation="MONOCHROME1",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """One file on disk, and what stands in it."""

    sending: Sending
    path: Path
    sop_instance_uid: str
    study_instance_uid: str
    birth_date: str


def write_radiographs(folder: Path) -> list[SentFile]:
    """Write every sending as a DICOM file; skip without the real images."""
    labels = _labels()
    written = []
    for number, sending in enumerate(SENDINGS, start=1):
        label = labels[sending.image]
        # as old as the label says: nobody knows the true age of these children
        born = _TAKEN - timedelta(days=float(label["bone_age"]) * 30.4375)
        dataset = hand_radiograph(
            real_hand(sending.image),
            Modality=sending.modality,
            PhotometricInterpretation=sending.photometric_interpretation,
            PatientName=CANARY_NAME,
            PatientID=f"{CANARY_ID}-{number}",
            PatientSex=label["sex"],
            PatientBirthDate=f"{born:%Y%m%d}",
            AccessionNumber=f"A{number:05}",
        )
        path = write_file(
            dataset, folder / f"{number:02}.dcm", transfer_syntax=sending.transfer_syntax
        )
        written.append(
            SentFile(
                sending=sending,
                path=path,
                sop_instance_uid=str(dataset.SOPInstanceUID),
                study_instance_uid=str(dataset.StudyInstanceUID),
                birth_date=f"{born:%Y%m%d}",
            )
        )
    return written


def storescu(file: SentFile, *, port: int, called_ae: str) -> None:
    """Send one file as a modality does, with dcmtk, in the syntax that it is in."""
    option = _STORESCU_OPTION[file.sending.transfer_syntax]
    command = [require_program("storescu"), option, "-aet", "MODALITY", "-aec", called_ae]
    ended = subprocess.run(
        [*command, "127.0.0.1", str(port), str(file.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr


def _labels() -> dict[str, dict[str, str]]:
    """Return the rows of annotation.csv by archive and number of the image."""
    with real_file("annotation.csv").open(newline="") as file:
        rows = {
            f"{row['dir']}/{row['image_ID'].partition('.')[0]}": row for row in csv.DictReader(file)
        }
    return {one.image: rows[one.image.partition(".")[0]] for one in SENDINGS}
