"""Looks at a cluster from outside, without starting or joining it.

Separate because the command line asks this, and must not change what it looks at.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import ChassisError, IndexNotFoundError
from .cluster import stop_server
from .folder import Folder, open_folder
from .identity import identities_for_existing, identities_for_new
from .locks import try_exclusive
from .process import postmaster
from .settings import effective_directory

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["Status", "describe_programs", "status", "stop"]


@dataclass(frozen=True)
class Status:
    """What is known of a cluster; ``pid`` is None also when it cannot be seen."""

    directory: Path
    path: Path
    uuid: str
    major: int | None
    running: bool
    in_use: bool
    pid: int | None
    user: str
    log: Path


def _free(folder: Folder, name: str) -> bool:
    try:
        fd = folder.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return try_exclusive(fd)
    finally:
        os.close(fd)


def _major(folder: Folder) -> int | None:
    try:
        text = (folder.path / "data" / "PG_VERSION").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def status(directory: str | os.PathLike[str]) -> Status | None:
    """The cluster of ``directory``; None when there is none."""
    folder = open_folder(effective_directory(Path(directory).absolute()))
    if folder is None:
        return None
    try:
        identities = identities_for_existing(folder.owner)
        return Status(
            directory=folder.path.parent,
            path=folder.path,
            uuid=str(folder.information()["uuid"]),
            major=_major(folder),
            running=not _free(folder, "server.lock"),
            in_use=not _free(folder, "users.lock"),
            pid=postmaster(folder),
            user=identities[0].name if identities else f"uid {folder.owner}",
            log=folder.path / "log",
        )
    finally:
        folder.close()


def stop(directory: str | os.PathLike[str], timeout: float = 60.0) -> bool:
    """Stop the server even if it is in use; its users start it again when needed."""
    folder = open_folder(effective_directory(Path(directory).absolute()))
    if folder is None:
        raise IndexNotFoundError(f"there is no cluster in {directory}")
    try:
        return stop_server(folder, timeout)
    finally:
        folder.close()


def describe_programs(directory: str | os.PathLike[str]) -> Plan | ChassisError:
    """What would run a cluster in ``directory``, or the error that says why not."""
    from .plan import plan_existing, plan_new

    place = effective_directory(Path(directory).absolute())
    try:
        folder = open_folder(place)
        if folder is None:
            identities_for_new(place)
            return plan_new(place)
        try:
            return plan_existing(folder.path, folder.owner, _major(folder))
        finally:
            folder.close()
    except ChassisError as error:
        return error
