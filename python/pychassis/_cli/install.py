"""``install-extension``: copies the extension into a PostgreSQL installation.

For a server of one's own on this machine; a directory's private server needs no
installation.  It copies what this package carries for the server's major version
and runs no compiler.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

from .._embedded import extension
from ..exceptions import ChassisError
from .common import OK, Output, Parsers, add_command


def add_parsers(commands: Parsers) -> None:
    parser = add_command(
        commands,
        "install-extension",
        "install the extension into a PostgreSQL of this machine",
        "Copies the extension's library and SQL files to where the server whose "
        "pg_config is given looks for them. Afterwards, in each database: CREATE "
        "EXTENSION chassis.",
    )
    parser.add_argument(
        "--pg-config",
        default=os.environ.get("PG_CONFIG", "pg_config"),
        metavar="PROGRAM",
        help="pg_config of the server (default: $PG_CONFIG, or the first on PATH)",
    )
    parser.add_argument(
        "--destdir",
        default="",
        metavar="DIR",
        help="put the files below DIR, for packages and for trying it out",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be copied"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    version, share, library = _ask(arguments.pg_config)
    copies = _plan(int(version), arguments.destdir, share, library)
    if not arguments.dry_run:
        for source, target in copies:
            _copy(source, target)
    done = "would copy" if arguments.dry_run else "copied"
    values = {
        "postgresql": int(version),
        "files": [str(target) for _, target in copies],
        "installed": not arguments.dry_run,
    }
    lines = [f"{done} {source.name} to {target.parent}" for source, target in copies]
    if not arguments.dry_run:
        lines.append("now run in each database: CREATE EXTENSION chassis")
    output.answer(values, "\n".join(lines))
    return OK


def _ask(pg_config: str) -> tuple[str, Path, Path]:
    """The major version and the directories of an installation."""
    command = [pg_config, "--version", "--sharedir", "--pkglibdir"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ChassisError(
            f"could not run {pg_config}: {error}. Name the server's own with "
            "--pg-config (Debian: /usr/lib/postgresql/VERSION/bin/pg_config)"
        ) from error
    version, share, library = said.stdout.splitlines()[:3]
    found = re.search(r"\d+", version)
    if found is None:
        raise ChassisError(f"{pg_config} says it is {version!r}")
    return found[0], Path(share) / "extension", Path(library)


def _plan(
    major: int, destdir: str, share: Path, library: Path
) -> list[tuple[Path, Path]]:
    """Which file goes where."""
    shipped = extension.shipped(major)
    if shipped is None:
        raise ChassisError(
            f"this package carries no extension for PostgreSQL {major}. Build it from "
            f"the sources (make install PG_CONFIG=...), or name a directory that has "
            f"it with CHASSIS_LIB_PATH"
        )
    from_share, from_library = shipped
    scripts = [from_share / extension.CONTROL, *from_share.glob("chassis--*.sql")]
    libraries = [path for path in from_library.glob("chassis.*") if _is_library(path)]
    return [
        (source, Path(f"{destdir}{directory}") / source.name)
        for directory, sources in ((share, sorted(scripts)), (library, libraries))
        for source in sources
    ]


def _is_library(path: Path) -> bool:
    return path.suffix in (".so", ".dylib")


def _copy(source: Path, target: Path) -> None:
    """Put a file in place in one step: a running server may have it mapped."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.chmod(0o755 if _is_library(source) else 0o644)
        part.replace(target)
    except PermissionError as error:
        raise ChassisError(
            f"could not write {target}: {error.strerror}. Run this as the user who "
            "installed PostgreSQL, most often root"
        ) from error
    finally:
        part.unlink(missing_ok=True)
