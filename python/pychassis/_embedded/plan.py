"""Chooses the programs, the extension's files and the user that go together.

Separate because it is a search whose failures must be told one by one: a user who
gets an error here needs to know what was tried, and why each try was no good.
Decides nothing about a cluster's files.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..exceptions import ServerError, UpgradeRequiredError
from .extension import Extension, find_extension
from .identity import Identity, identities_for_existing, identities_for_new
from .programs import Programs, candidate_directories, examine

__all__ = ["Plan", "plan_existing", "plan_new"]

_REMEDIES = (
    "Remedies: pip install 'pgchassis[server]', which brings PostgreSQL; or install "
    "PostgreSQL 14 to 18 and the extension for it; or name the directories with "
    "CHASSIS_PG_BIN (programs) and CHASSIS_LIB_PATH (extension); or use a server "
    "that runs already (connection=, CHASSIS_DATABASE_URL)"
)


@dataclass(frozen=True)
class Plan:
    """What to run, with which extension, as whom."""

    programs: Programs
    extension: Extension
    identity: Identity


def _plans(identity: Identity, reasons: list[str], major: int | None) -> list[Plan]:
    """All that would do, the highest major version first."""
    found: list[Plan] = []
    for bindir in candidate_directories():
        programs = examine(bindir, identity)
        if isinstance(programs, str):
            reasons.append(f"{bindir}: {programs}")
            continue
        if major is not None and programs.major != major:
            reasons.append(f"{bindir}: is PostgreSQL {programs.version}")
            continue
        extension = find_extension(programs, identity)
        if isinstance(extension, str):
            reasons.append(f"{bindir}: {extension}")
            continue
        found.append(Plan(programs, extension, identity))
        if major is not None:
            break
    return sorted(found, key=lambda plan: -plan.programs.major)


def _tried(reasons: list[str]) -> str:
    if not reasons:
        return "no PostgreSQL server program was found"
    return "tried: " + "; ".join(dict.fromkeys(reasons))


def plan_new(directory: Path) -> Plan:
    """For a cluster to be created in ``directory``; ServerError when none works."""
    reasons: list[str] = []
    for identity in identities_for_new(directory):
        plans = _plans(identity, reasons, None)
        if plans:
            return plans[0]
    raise ServerError(
        f"cannot start a PostgreSQL server for {directory} ({_tried(reasons)}). "
        f"{_REMEDIES}{_root_remedies()}"
    )


def plan_existing(folder: Path, owner: int, major: int | None) -> Plan:
    """For the cluster in ``folder``, whose data is of version ``major``.

    None stands for a folder whose maker died before there was any data.
    """
    reasons: list[str] = []
    for identity in identities_for_existing(owner):
        plans = _plans(identity, reasons, major)
        if plans:
            return plans[0]
    if major is None:
        raise ServerError(
            f"cannot start a PostgreSQL server in {folder} ({_tried(reasons)}). "
            f"{_REMEDIES}{_root_remedies()}"
        )
    raise UpgradeRequiredError(
        f"{folder} was made by PostgreSQL {major}, and no programs of that version "
        f"with the extension can be run here ({_tried(reasons)}). Make them "
        f"available, or export the indexes where they are and import them here. "
        f"{_REMEDIES}{_root_remedies()}"
    )


def _root_remedies() -> str:
    if os.geteuid() != 0:
        return ""
    return (
        ". As root: PostgreSQL does not run as root; create a user (useradd --system "
        "postgres) or name one with CHASSIS_OS_USER, or allow user namespaces"
    )
