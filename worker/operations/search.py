"""Read out of a spooled image what a job may be searched by."""

import codecs
from pathlib import Path
from typing import Final

from pydicom.charset import python_encoding

from worker.listener.errors import UnreadableDatasetError
from worker.listener.header import ACCESSION_NUMBER, CHARACTER_SET, PATIENT_ID, read_values
from worker.listener.spool import FileMeta
from worker.queue.search import SearchTerms

SEARCH_KEY_FILE: Final = "search.key"
_WANTED = frozenset({CHARACTER_SET, ACCESSION_NUMBER, PATIENT_ID})
_META_BYTES = 4096  # preamble and our own file meta are a tenth of that


def read_terms(root: Path, spool_file: str, transfer_syntax_uid: str) -> SearchTerms | None:
    """Return what one kept image may be searched by; nothing if it is gone or unreadable.

    The header alone is read, step by step, so that no image can be too large for the reader.

    Raises:
        OSError: the disk did not give the file out.
    """
    path = root / spool_file
    try:
        with path.open("rb") as file:
            _meta, offset = FileMeta.decode(file.read(_META_BYTES))
        values = read_values(
            path, offset=offset, transfer_syntax_uid=transfer_syntax_uid, wanted=_WANTED
        )
    except (FileNotFoundError, UnreadableDatasetError):
        return None
    encoding = _encoding(values.get(CHARACTER_SET, b""))
    return SearchTerms(
        accession_number=values.get(ACCESSION_NUMBER, b"").decode(encoding, "replace"),
        patient_id=values.get(PATIENT_ID, b"").decode(encoding, "replace"),
    )


def _encoding(character_set: bytes) -> str:
    """Return Python's name of the first character set; numbers and letters are in all of them."""
    term = character_set.split(b"\\")[0].strip().decode("latin-1")
    name = python_encoding.get(term, "latin-1")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "latin-1"
