"""On which file systems a cluster may live.

Separate because it is a table and a parser of /proc/self/mountinfo.  A cluster
needs locks that are dropped when their holder dies, and fsync that means it;
network and user-space file systems give neither reliably.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..exceptions import InvalidPathError

__all__ = ["check_filesystem", "filesystem_of", "parse_mountinfo"]

_log = logging.getLogger("pychassis.embedded")

_REFUSED = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs 9p virtiofs drvfs vboxsf ceph lustre gpfs "
    "afs ncpfs glusterfs beegfs prl_fs vmhgfs fuse fuseblk".split()
)
_KNOWN = frozenset(
    "ext2 ext3 ext4 xfs btrfs zfs bcachefs f2fs jfs reiserfs overlay aufs tmpfs "
    "ramfs rootfs apfs hfs ufs ecryptfs".split()
)


def _unescape(field: str) -> str:
    """Undo the octal escapes (\\040 for a space) of mountinfo."""
    out = bytearray()
    raw = os.fsencode(field)
    i = 0
    while i < len(raw):
        if raw[i : i + 1] == b"\\" and raw[i + 1 : i + 4].isdigit():
            out.append(int(raw[i + 1 : i + 4], 8) & 0xFF)
            i += 4
        else:
            out.append(raw[i])
            i += 1
    return os.fsdecode(bytes(out))


def parse_mountinfo(text: str, path: str, device: int) -> str | None:
    """The file system type of ``path``, whose st_dev is ``device``.

    Among mounts of that device, else among all (btrfs gives each subvolume a
    device that is listed nowhere), the one with the longest mount point above the
    path; of two at the same place the later, which hides the earlier.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best: tuple[bool, int] | None = None
    kind = None
    for line in text.splitlines():
        fields = line.split(" ")
        try:
            separator = fields.index("-")
            point = _unescape(fields[4])
            fs_type = fields[separator + 1]
            number = fields[2]
        except (ValueError, IndexError):
            continue
        if path != point and not path.startswith(point.rstrip("/") + "/"):
            continue
        rank = (number == wanted, len(point))
        if best is None or rank >= best:
            best, kind = rank, fs_type
    return kind


def filesystem_of(directory: Path) -> str | None:
    """The type of the file system that holds ``directory``, where it is known."""
    try:
        with open(
            "/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape"
        ) as f:
            text = f.read()
    except OSError:
        return None
    return parse_mountinfo(text, os.path.realpath(directory), os.stat(directory).st_dev)


def check_filesystem(directory: Path) -> None:
    """InvalidPathError where a cluster would not be safe; CHASSIS_ALLOW_FS=1."""
    kind = filesystem_of(directory)
    if kind is None or kind in _KNOWN:
        return
    if kind in _REFUSED or kind.startswith("fuse."):
        if os.environ.get("CHASSIS_ALLOW_FS") == "1":
            _log.warning("%s is on %s, allowed by CHASSIS_ALLOW_FS", directory, kind)
            return
        raise InvalidPathError(
            f"{directory} is on a {kind} file system, which can neither lock nor "
            "sync files the way a database needs. Use a local directory, or set "
            "CHASSIS_HOME to one; or connect to a server (connection=, "
            "CHASSIS_DATABASE_URL); CHASSIS_ALLOW_FS=1 overrides this check"
        )
    _log.warning(
        "%s is on a file system of type %s, of which nothing is known here: it must "
        "support flock and fsync",
        directory,
        kind,
    )
