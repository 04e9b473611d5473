"""On which file system does a path lie? SQLite's locks do not hold on a network."""

import re
from pathlib import Path
from typing import Final

from schemas.errors import NetworkFileSystemError

#: names as the Linux kernel writes them; "fuse." ones are those of the user-space programs
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.s3fs",
        "fuse.rclone",
    }
)
MOUNTS: Final = Path("/proc/self/mountinfo")


def require_local(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Return if ``path`` lies on a local file system, or where we cannot know.

    Raises:
        NetworkFileSystemError: it does not.
    """
    file_system = file_system_of(path, mounts=mounts)
    if file_system in NETWORK_FILE_SYSTEMS:
        raise NetworkFileSystemError(file_system=file_system)


def file_system_of(path: Path, *, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that ``path`` lies on, "" where the host does not say.

    The path need not exist. The file format is that of proc(5), /proc/[pid]/mountinfo.
    """
    if not mounts.exists():
        return ""
    wanted = path.resolve()
    best, found = -1, ""
    for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(_unescaped(fields.split()[4]))
        # a later line covers an earlier one at the same point
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), rest.split()[0]
    return found


def _unescaped(text: str) -> str:
    r"""Undo the octal escapes of proc(5): a space is written ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
