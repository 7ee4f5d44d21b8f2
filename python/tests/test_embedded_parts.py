"""The parts of the embedded server that need no server.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import os
import pwd
import socket
import threading
from pathlib import Path

import pytest

from pychassis import InvalidPathError, ServerError, UpgradeRequiredError
from pychassis._embedded import filesystem, identity, plan, programs, settings
from pychassis._embedded.folder import create_folder, open_folder
from pychassis._embedded.identity import Identity
from pychassis._embedded.probe import Answer, probe

MOUNTS = r"""
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:20 / /proc rw - proc proc rw
30 21 0:40 / /mnt/share rw - nfs4 server:/x rw
31 21 0:41 / /mnt/with\040space rw - fuse.sshfs me@there rw
32 21 0:42 /sub /data rw - btrfs /dev/sdb rw
33 32 0:43 / /data/odd rw - futurefs none rw
34 21 0:44 / /mnt/share rw - tmpfs none rw
""".strip()


@pytest.mark.parametrize(
    ("path", "device", "kind"),
    [
        ("/home/me", (8, 1), "ext4"),
        ("/mnt/share/x", (0, 40), "nfs4"),
        ("/mnt/share/x", (0, 44), "tmpfs"),
        ("/mnt/shared", (8, 1), "ext4"),
        ("/mnt/with space/x", (0, 41), "fuse.sshfs"),
        # btrfs: the device of a subvolume is in no line
        ("/data/x", (0, 99), "btrfs"),
        ("/data/odd/x", (0, 43), "futurefs"),
    ],
)
def test_mountinfo(path: str, device: tuple[int, int], kind: str) -> None:
    assert filesystem.parse_mountinfo(MOUNTS, path, os.makedev(*device)) == kind


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "fuseblk"])
def test_file_systems_that_are_refused(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(filesystem, "filesystem_of", lambda directory: kind)
    with pytest.raises(InvalidPathError, match=f"{kind}.*CHASSIS_HOME.*CHASSIS_ALLOW"):
        filesystem.check_filesystem(tmp_path)
    monkeypatch.setenv("CHASSIS_ALLOW_FS", "1")
    filesystem.check_filesystem(tmp_path)
    assert "allowed by CHASSIS_ALLOW_FS" in caplog.text


def test_other_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for kind in ("ext4", "overlay", None):
        monkeypatch.setattr(filesystem, "filesystem_of", lambda d, k=kind: k)
        filesystem.check_filesystem(tmp_path)
    assert not caplog.records
    monkeypatch.setattr(filesystem, "filesystem_of", lambda directory: "futurefs")
    filesystem.check_filesystem(tmp_path)
    assert "futurefs" in caplog.text


def test_a_small_shared_memory_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    small = os.statvfs_result((4096, 4096, 16384, 16384, 16384, *tuple(real)[5:10]), {})
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    found = settings.start_settings(0, True, 15)
    assert found["dynamic_shared_memory_type"] == "mmap"


def test_memory_follows_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def buffers(limit: int) -> str:
        monkeypatch.setattr(settings, "memory_limit", lambda: limit << 20)
        return settings.start_settings(0, True, 15)["shared_buffers"]

    assert [buffers(n) for n in (32, 400, 100_000)] == ["16MB", "100MB", "256MB"]


def test_no_watcher_no_preload() -> None:
    found = settings.start_settings(5, False, 17)
    assert "shared_preload_libraries" not in found
    assert "io_method" not in found
    assert settings.start_settings(5, True, 18)["chassis.linger"] == "5"
    assert settings.start_settings(5, True, 18)["io_method"] == "sync"


def test_the_home_of_all_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    assert settings.effective_directory(here) == here
    monkeypatch.setenv("CHASSIS_HOME", str(home))
    assert settings.effective_directory(here) == home
    (here / ".chassis").mkdir()
    assert settings.effective_directory(here) == here


# --- finding programs --------------------------------------------------------------


def me() -> Identity:
    return Identity(os.geteuid(), os.getegid(), "self")


def fake_programs(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        script = directory / name
        script.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        script.chmod(0o755)
    return directory


def test_versions_are_read(tmp_path: Path) -> None:
    for version, major in (("17.2 (Debian 17.2-1)", 17), ("19beta1", 19)):
        found = programs.examine(fake_programs(tmp_path / version[:2], version), me())
        assert isinstance(found, programs.Programs)
        assert found.major == major


def test_programs_that_will_not_do(tmp_path: Path) -> None:
    assert "no postgres" in str(programs.examine(tmp_path, me()))
    odd = fake_programs(tmp_path / "$(touch x)", "15.1")
    assert "shell" in str(programs.examine(odd, me()))
    broken = fake_programs(tmp_path / "broken", "15.1")
    (broken / "postgres").write_text("#!/bin/sh\necho libpq is missing; exit 1\n")
    assert "libpq is missing" in str(programs.examine(broken, me()))
    (broken / "postgres").chmod(0o644)
    assert "cannot run" in str(programs.examine(broken, me()))


if os.geteuid() == 0:

    def test_root_runs_nothing_that_others_can_write(tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        place = fake_programs(tmp_path / "place", "15.1")
        nobody = Identity(65534, 65534, "user")
        (place / "postgres").chmod(0o777)
        assert "can write" in str(programs.examine(place, nobody))
        (place / "postgres").chmod(0o755)
        os.chown(place, 12345, 12345)
        assert str(place) in str(programs.examine(place, nobody))

    def test_whom_root_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        os.chown(tmp_path, 12345, 12345)
        monkeypatch.setenv("CHASSIS_OS_USER", "nobody")
        wishes = identity.identities_for_new(tmp_path)
        assert [w.uid for w in wishes[:2]] == [12345, pwd.getpwnam("nobody").pw_uid]
        assert all(w.uid != 0 or w.mode == "namespace" for w in wishes)
        for wrong in ("nosuchuser", "root"):
            monkeypatch.setenv("CHASSIS_OS_USER", wrong)
            with pytest.raises(ServerError, match="CHASSIS_OS_USER"):
                identity.identities_for_new(tmp_path)


def test_nothing_found_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHASSIS_PG_BIN", str(tmp_path / "nowhere"))
    with pytest.raises(ServerError, match="nowhere.*Remedies.*server"):
        plan.plan_new(tmp_path)
    # an environment without a single program
    monkeypatch.setattr(plan, "candidate_directories", lambda: [])
    with pytest.raises(ServerError, match="no PostgreSQL server program was found"):
        plan.plan_new(tmp_path)


def test_other_major_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("CHASSIS_PG_BIN", str(fake_programs(tmp_path / "b", "16.4")))
    with pytest.raises(UpgradeRequiredError, match=r"made by PostgreSQL 13.*16\.4"):
        plan.plan_existing(tmp_path / ".chassis", os.geteuid(), 13)


# --- the folder ------------------------------------------------------------------------


def test_one_of_many_makes_the_folder(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        create_folder(tmp_path, me())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in tmp_path.iterdir()] == [".chassis"]
    folder = open_folder(tmp_path)
    assert folder is not None
    assert len(str(folder.information()["uuid"])) == 36
    folder.close()


def test_abandoned_folders_are_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".chassis.new-1-a", tmp_path / ".chassis.new-2-b"
    old.mkdir()
    (old / "users.lock").touch()
    os.utime(old, (1, 1))
    new.mkdir()
    create_folder(tmp_path, me())
    assert {entry.name for entry in tmp_path.iterdir()} == {".chassis", new.name}


def test_a_damaged_description(tmp_path: Path) -> None:
    create_folder(tmp_path, me())
    folder = open_folder(tmp_path)
    assert folder is not None
    (tmp_path / ".chassis" / "cluster.json").write_text("{")
    with pytest.raises(InvalidPathError, match="damaged.*remove the file"):
        folder.information()
    (tmp_path / ".chassis" / "cluster.json").unlink()
    assert folder.information()["format"] == 1
    (tmp_path / ".chassis" / "cluster.json").write_text('{"uuid": "x", "format": 9}')
    with pytest.raises(InvalidPathError, match="upgrade pgchassis"):
        folder.information()
    folder.close()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A server's user could have placed them for root to write through."""
    create_folder(tmp_path, me())
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / ".chassis" / "log").symlink_to(precious)
    folder = open_folder(tmp_path)
    assert folder is not None
    with pytest.raises(OSError, match="symbolic"):
        folder.open_log()
    folder.close()
    assert precious.read_text() == "precious"


# --- asking a socket ---------------------------------------------------------------------


def answering(path: Path, reply: bytes) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (b"R\0\0\0\x08\0\0\0\0", (Answer.READY, "")),
        (b"E\0\0\0\x20SFATAL\0C57P03\0Mstarting up\0\0", (Answer.BUSY, "57P03")),
        (b"E\0\0\0\x20SFATAL\0C53300\0Mtoo many\0\0", (Answer.BUSY, "53300")),
        (b"E\0\0\0\x20SFATAL\0C3D000\0Mno database\0\0", (Answer.REFUSED, "3D000")),
        (b"", (Answer.BUSY, "")),
    ],
)
def test_probe(tmp_path: Path, reply: bytes, answer: tuple[Answer, str]) -> None:
    place = tmp_path / "s"
    assert probe(str(place), "me", "mine") == (Answer.ABSENT, "")
    thread = answering(place, reply)
    assert probe(str(place), "me", "mine") == answer
    thread.join()
    assert probe(str(place), "me", "mine") == (Answer.ABSENT, "")
