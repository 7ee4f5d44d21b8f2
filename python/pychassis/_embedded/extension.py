"""Finds the extension's files, and the settings by which a server finds them.

Separate because there are three ways to give a server an extension that nobody
installed into it, and which one works depends on its version and its maker:
version 18 has extension_control_path; Debian's packages of older ones have
extension_destdir; and any server finds what lies beside its own files.

The files of one major version lie in one directory: chassis.control, the SQL
scripts, chassis.so and chassis_embedded.so.  They are looked for in
CHASSIS_LIB_PATH (the directory itself, or a directory with one per major version,
or what make install left in a DESTDIR), in this package (a wheel), in the checkout
of an editable install (make python), and in the server's own directories.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .fds import have_proc
from .identity import Identity
from .programs import Programs, installation_paths

__all__ = ["CONTROL", "Extension", "find_extension", "shipped"]

CONTROL = "chassis.control"
_WATCHER = "chassis_embedded"
_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"


@dataclass(frozen=True)
class Extension:
    """Where the files are, and how a server is told.

    ``way`` own: they are where the server looks by itself.  control_path and
    destdir: by a setting of that kind; destdir needs ``share_path`` and
    ``library_path``, the server's compiled-in directories.
    """

    share: Path
    library: Path
    version: str
    way: Literal["own", "control_path", "destdir"]
    share_path: str = ""
    library_path: str = ""

    @property
    def has_watcher(self) -> bool:
        return (self.library / (_WATCHER + _SUFFIX)).exists()


def _places(major: int) -> Iterator[tuple[Path, Path]]:
    """Pairs of directories (share, library) to look in, except the server's."""
    package = Path(__file__).resolve().parents[1]
    roots = [package / "_pg", package.parents[1] / "build" / "extension"]
    chosen = os.environ.get("CHASSIS_LIB_PATH")
    if chosen:
        root = Path(chosen).expanduser().absolute()
        roots.insert(0, root)
        yield root, root
        debian = Path("postgresql") / str(major)
        for prefix in (root, root / "usr"):
            yield prefix / "share" / debian / "extension", prefix / "lib" / debian / "lib"
    for root in roots:
        yield root / str(major), root / str(major)


def _version(share: Path, library: Path) -> str | None:
    """default_version of the control file; None when the files are not all there."""
    if not (library / ("chassis" + _SUFFIX)).exists():
        return None
    try:
        text = (share / CONTROL).read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^\s*default_version\s*=\s*'([^']*)'", text, re.MULTILINE)
    return match.group(1) if match else None


def _readable(place: Path, names: list[str], identity: Identity) -> bool:
    """Whether another user can read these files once it is in their directory.

    It gets there by a descriptor (fds.py), so only the last directory's bits and
    the files' own count; without /proc those above count too.
    """
    if identity.mode != "user":
        return True
    above = [] if have_proc() else list(place.resolve().parents)
    wanted = [(place / name, stat.S_IROTH) for name in names]
    wanted += [(d, stat.S_IXOTH) for d in [place, *above]]
    for path, bit in wanted:
        try:
            status = os.stat(path)
        except OSError:
            return False
        if status.st_uid == identity.uid:
            bit <<= 6
        elif status.st_gid == identity.gid:
            bit <<= 3
        if not status.st_mode & bit:
            return False
    return True


def _has_destdir(programs: Programs, identity: Identity) -> bool:
    """Whether these programs carry Debian's setting extension_destdir."""
    try:
        said = identity.run([programs.postgres, "--describe-config"])
    except OSError:
        return False
    return re.search(rb"^extension_destdir\b", said.stdout, re.MULTILINE) is not None


def find_extension(programs: Programs, identity: Identity) -> Extension | str:
    """The extension for these programs, or why they cannot have it."""
    reasons: list[str] = []
    for share, library in _places(programs.major):
        version = _version(share, library)
        if version is None:
            continue
        if not _readable(share, [CONTROL], identity) or not _readable(
            library, ["chassis" + _SUFFIX], identity
        ):
            reasons.append(f"{identity.name} cannot read {library}")
            continue
        if programs.major >= 18:
            return Extension(share, library, version, "control_path")
        if _has_destdir(programs, identity):
            own_share, own_library = installation_paths(programs, identity)
            return Extension(
                share, library, version, "destdir", str(own_share), str(own_library)
            )
        reasons.append(
            "this build of PostgreSQL takes extensions only from its own directories "
            f"(make install PG_CONFIG={programs.bindir}/pg_config)"
        )
        break
    own_share, own_library = installation_paths(programs, identity)
    version = _version(own_share / "extension", own_library)
    if version is not None:
        return Extension(own_share / "extension", own_library, version, "own")
    return "; ".join(reasons) or (
        f"the extension chassis for PostgreSQL {programs.major} was not found"
    )


def shipped(major: int) -> tuple[Path, Path] | None:
    """The directories (share, library) of the files that come with the package."""
    for share, library in _places(major):
        if _version(share, library) is not None:
            return share, library
    return None
