import tracemalloc
import zlib
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom.dsutils import split_dataset

from tests.worker.listener.encoding import (
    BIG_ENDIAN,
    DEFLATED,
    DX,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    dataset,
    explicit,
    implicit,
    item,
    uid,
)
from worker.listener.errors import UnreadableDatasetError
from worker.listener.header import ObjectIdentity, read_identity

PIXELS = explicit(0x7FE00010, "OW", b"\1\2" * 500)


def read(path: Path, content: bytes, *, syntax: str = EXPLICIT) -> ObjectIdentity:
    path.write_bytes(b"head" + content)
    return read_identity(path, offset=4, transfer_syntax_uid=syntax)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def test_uids_are_read_without_their_padding(tmp_path: Path) -> None:
    found = read(tmp_path / "f", dataset(sop_instance_uid="1.2.345", after_study=PIXELS))

    assert found.sop_class_uid == DX
    assert found.sop_instance_uid == "1.2.345"
    assert found.study_instance_uid == "1.2"


def test_an_absent_study_is_none(tmp_path: Path) -> None:
    assert read(tmp_path / "f", dataset(study_instance_uid="")).study_instance_uid is None


def test_equipment_is_read_as_bytes(tmp_path: Path) -> None:
    device = explicit(0x00080070, "LO", b"H\xe4rtel ") + explicit(0x00081090, "LO", b"X1")
    found = read(tmp_path / "f", dataset(before_study=device))

    assert (found.manufacturer, found.model_name) == (b"H\xe4rtel", b"X1")


def test_implicit_vr_is_read(tmp_path: Path) -> None:
    content = (
        implicit(0x00080016, uid(DX))
        + implicit(0x00080018, uid("1.2.3"))
        + implicit(0x0020000D, uid("1.2"))
    )
    assert read(tmp_path / "f", content, syntax=IMPLICIT).study_instance_uid == "1.2"


def test_big_endian_is_read(tmp_path: Path) -> None:
    found = read(tmp_path / "f", dataset(order=">"), syntax=BIG_ENDIAN)

    assert found.study_instance_uid == "1.2"


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    content = deflated(dataset(after_study=PIXELS * 100))

    assert read(tmp_path / "f", content, syntax=DEFLATED).study_instance_uid == "1.2"


def test_implicit_vr_under_an_explicit_context_is_read_as_pydicom_will(tmp_path: Path) -> None:
    content = implicit(0x00080016, uid(DX)) + implicit(0x00080018, uid("1.2.3"))

    assert read(tmp_path / "f", content, syntax=EXPLICIT).sop_instance_uid == "1.2.3"


def test_an_unknown_character_set_is_no_obstacle(tmp_path: Path) -> None:
    text = explicit(0x00080005, "CS", b"KLINGON ") + explicit(0x00100010, "PN", b"\xff\xfe{}^")

    assert read(tmp_path / "f", dataset(before_study=text)).study_instance_uid == "1.2"


def test_a_nested_sequence_of_undefined_length_is_skipped(tmp_path: Path) -> None:
    inner = explicit(0x00080018, "UI", uid("9.9.9"))  # an instance UID that is not ours
    deepest = explicit(
        0x00082112, "SQ", item(inner + ITEM_END, length=UNDEFINED) + SEQUENCE_END, length=UNDEFINED
    )
    outer = explicit(
        0x00081140,
        "SQ",
        item(inner + deepest + ITEM_END, length=UNDEFINED) + item(inner) + SEQUENCE_END,
        length=UNDEFINED,
    )
    found = read(tmp_path / "f", dataset(before_study=outer))

    assert (found.sop_instance_uid, found.study_instance_uid) == ("1.2.3", "1.2")


def test_an_undefined_length_un_holds_items_in_implicit_vr(tmp_path: Path) -> None:
    items = item(implicit(0x00091001, b"abcd") + ITEM_END, length=UNDEFINED) + SEQUENCE_END
    private = explicit(0x00091002, "UN", items, length=UNDEFINED)

    assert read(tmp_path / "f", dataset(before_study=private)).study_instance_uid == "1.2"


def test_reading_ends_before_the_pixels(tmp_path: Path) -> None:
    cut_off = explicit(0x7FE00010, "OW", b"", length=500_000_000)

    assert read(tmp_path / "f", dataset(after_study=cut_off)).study_instance_uid == "1.2"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 5, id="cut inside a tag"),
        pytest.param(bytes(range(256)) * 8, id="noise"),
        pytest.param(b"\x08\0\x16\0UI\x1a\0" + b"1.2", id="cut inside a value"),
        pytest.param(dataset()[:70] + b"\xff" * 4, id="cut between elements"),
        pytest.param(
            dataset(before_study=explicit(0x00100010, "UT", b"", length=2**31)), id="endless text"
        ),
        pytest.param(
            dataset(before_study=explicit(0x00081140, "SQ", b"", length=UNDEFINED)), id="no items"
        ),
        pytest.param(
            explicit(0x00081140, "SQ", b"", length=UNDEFINED)
            + (item(b"", length=UNDEFINED) + explicit(0x00081140, "SQ", b"", length=UNDEFINED))
            * 1000,
            id="a well of sequences",
        ),
        pytest.param(explicit(0x00080018, "UI", b"1" * 2000), id="a UID of 2000 characters"),
    ],
)
def test_what_is_no_data_set_is_unreadable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableDatasetError):
        read(tmp_path / "f", content)


def test_bytes_that_do_not_inflate_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDatasetError, match="inflate"):
        read(tmp_path / "f", b"\xff" * 100, syntax=DEFLATED)


def test_a_deflated_bomb_is_unreadable_in_little_memory(tmp_path: Path) -> None:
    bomb = deflated(dataset(before_study=explicit(0x00104000, "UT", bytes(60_000_000))))
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableDatasetError, match="too long"):
            read(tmp_path / "f", bomb, syntax=DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_data_set_cut_off_anywhere_is_read_or_refused_but_never_an_accident(
    tmp_path: Path,
) -> None:
    nested = explicit(
        0x00081140, "SQ", item(b"" + ITEM_END, length=UNDEFINED) + SEQUENCE_END, length=UNDEFINED
    )
    whole = dataset(before_study=nested)
    refused = 0
    for end in range(len(whole)):
        try:
            assert read(tmp_path / "f", whole[:end]).sop_class_uid == DX
        except UnreadableDatasetError:
            refused += 1
    assert 0 < refused < len(whole)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about its own bad files
def test_pydicom_reads_the_same_uids_in_each_of_its_test_files() -> None:
    compared = 0
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        try:
            meta, offset = split_dataset(path)
            expected = dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, zlib.error):
            continue
        if "SOPInstanceUID" not in expected or "TransferSyntaxUID" not in meta:
            continue
        found = read_identity(path, offset=offset, transfer_syntax_uid=str(meta.TransferSyntaxUID))
        assert found.sop_class_uid == expected.SOPClassUID, path.name
        assert found.sop_instance_uid == expected.SOPInstanceUID, path.name
        assert found.study_instance_uid == (expected.get("StudyInstanceUID") or None), path.name
        compared += 1
    assert compared > 30
