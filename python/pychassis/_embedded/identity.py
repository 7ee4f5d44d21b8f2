"""As which operating system user the server's programs run.

Separate because PostgreSQL refuses to run as root, and everything else should be
able to forget that.  For an ordinary user there is nothing to choose.  For root
this module lists the users to try, best first; whether one can run the programs
is found out by running them (plan.py).

A directory that the chosen user could not enter is no obstacle: it is handed over
as an open descriptor (fds.py).

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ..exceptions import ServerError

__all__ = ["Identity", "identities_for_existing", "identities_for_new"]

_NOBODY = 65534


@dataclass(frozen=True)
class Identity:
    """``uid`` and ``gid`` own the files; ``mode`` says how to become that user.

    self: we are it.  user: the child gives up root.  namespace: the child stays
    the owner of root's files but has another number in a user namespace of its
    own, and no capability there or here.

    A user without a name, as containers have them, gets such a namespace too: there
    its number is nobody's, and initdb insists on a name.
    """

    uid: int
    gid: int
    mode: Literal["self", "user", "namespace"]

    @property
    def name(self) -> str:
        if self.mode == "namespace":
            return "root, in a user namespace of its own"
        return _user_name(self.uid)

    @property
    def _unshared(self) -> bool:
        return self.mode == "namespace" or not _has_name(self.uid)

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv``, behind what it takes to become this identity."""
        program = _unshare() if self._unshared else None
        return [*([program, "-U", "--"] if program else []), *argv]

    def _become(self) -> dict[str, Any]:
        if self.mode == "user":
            return {"user": self.uid, "group": self.gid, "extra_groups": []}
        return {}

    def run(
        self,
        argv: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        stdin: bytes | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end, output captured together; OSError when it cannot start."""
        return subprocess.run(
            self.command(argv),
            check=False,
            input=b"" if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=clean_environment(),
            umask=0o077,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            **self._become(),
        )

    def spawn(
        self, argv: Sequence[str], *, pass_fds: Sequence[int], output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        """Start in a session of its own, where our terminal's signals end not."""
        return subprocess.Popen(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=clean_environment(),
            umask=0o077,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            **self._become(),
        )


def clean_environment() -> dict[str, str]:
    """What the programs see: nothing of PG*, messages in English, UTC.

    With TZ set, initdb need not compare all zones of the system with ours.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "TZ": "UTC",
        **{
            name: os.environ[name]
            for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
            if name in os.environ and os.geteuid() != 0
        },
    }


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _user(uid: int, gid: int | None = None) -> Identity:
    if gid is None:
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = uid
    return Identity(uid, gid, "user")


def _unshare() -> str | None:
    """The program, but not one that somebody else put into our PATH."""
    for place in ("/usr/bin/unshare", "/bin/unshare"):
        if os.path.exists(place):
            return place
    return shutil.which("unshare") if os.geteuid() != 0 else None


def _named(name: str) -> Identity | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return None if entry.pw_uid == 0 else Identity(entry.pw_uid, entry.pw_gid, "user")


def identities_for_existing(owner: int) -> list[Identity]:
    """For a cluster whose files belong to ``owner``; there is one way at most."""
    me = os.geteuid()
    if me != 0:
        return [Identity(me, os.getegid(), "self")] if owner == me else []
    if owner != 0:
        return [_user(owner)]
    return [Identity(0, 0, "namespace")] if _unshare() else []


def _wishes(directory: Path) -> Iterator[Identity | None]:
    owner = os.stat(directory)
    if owner.st_uid != 0:
        yield _user(owner.st_uid)
    wanted = os.environ.get("CHASSIS_OS_USER")
    if wanted:
        chosen = _named(wanted)
        if chosen is None:
            raise ServerError(
                f'CHASSIS_OS_USER is "{wanted}", which is no user of this system '
                "other than root"
            )
        yield chosen
    yield _named("postgres")
    if _unshare():
        yield Identity(0, 0, "namespace")
    yield _named("nobody")


def identities_for_new(directory: Path) -> list[Identity]:
    """For a cluster to be created in ``directory``, best first."""
    me = os.geteuid()
    if me != 0:
        return [Identity(me, os.getegid(), "self")]
    found: list[Identity] = []
    for wish in _wishes(directory):
        if wish is not None and wish not in found:
            found.append(wish)
    return found
