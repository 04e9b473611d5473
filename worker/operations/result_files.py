"""Are the files of the results on disk what they were when they were written?"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from schemas.audit import AuditFault, AuditProblem, WrittenFile


def find_altered_files(
    root: Path,
    list_files: Callable[[], Sequence[WrittenFile]],
    *,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[AuditProblem, ...]:
    """Return each file of a result that is gone, or not what was written.

    Args:
        root: the storage root.
        list_files: gives what should be there; asked again where something is not, because
            retention may have removed it in the meantime.
        tell: hears how many files were read, of how many.
    """
    files = list_files()
    wrong: dict[WrittenFile, str] = {}
    for number, one in enumerate(files, start=1):
        found = _wrong(root / one.path, one.sha256)
        if found:
            wrong[one] = found
        tell(number, len(files))
    still = set(list_files()) if wrong else set()
    return tuple(
        AuditProblem(
            kind=AuditFault.FILE,
            event_id=one.event_id,
            message=f"{one.path} of job {one.job_id} {found}.",
        )
        for one, found in wrong.items()
        if one in still
    )


def _wrong(path: Path, sha256: str) -> str:
    """Return what is wrong with a file; empty: nothing."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if found == sha256 else "is not what was written"
