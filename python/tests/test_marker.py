"""The file at an index's path: what is told apart, and what is written.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path

import pytest

from pychassis import InvalidPathError
from pychassis._marker import FORMAT, Marker, create, inspect

MARKER = Marker(str(uuid.uuid4()), "vectors", "/somewhere/.chassis")


def test_absent_and_empty(tmp_path: Path) -> None:
    assert inspect(tmp_path / "none") is None
    (tmp_path / "empty").touch()
    assert inspect(tmp_path / "empty") is None


@pytest.mark.parametrize("first_empty", [False, True])
def test_round_trip(tmp_path: Path, first_empty: bool) -> None:
    path = tmp_path / 'it\'s "q" $(x)\n.chassis'
    if first_empty:
        path.touch()
    create(path, MARKER)
    assert inspect(path) == MARKER
    assert b"contains no vectors" in path.read_bytes().split(b"\n")[0]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.chassis")
    marker = Marker(MARKER.uuid, name, str(tmp_path / name))
    create(tmp_path / name, marker)
    assert inspect(tmp_path / name) == marker


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    create(path, MARKER)
    other = Marker(str(uuid.uuid4()), "vectors", MARKER.cluster)
    with pytest.raises(FileExistsError):
        create(path, other)
    assert inspect(path) == MARKER


@pytest.mark.parametrize("first_empty", [False, True])
def test_one_of_many_creators_wins(tmp_path: Path, first_empty: bool) -> None:
    path = tmp_path / "vectors"
    if first_empty:
        path.touch()
    won: list[Marker] = []
    start = threading.Barrier(8)

    def work() -> None:
        mine = Marker(str(uuid.uuid4()), "vectors", MARKER.cluster)
        start.wait()
        try:
            create(path, mine)
        except FileExistsError:
            return
        won.append(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [inspect(path)] == won


DAMAGED = {
    "cut": lambda content: content[:-20],
    "no json": lambda content: content.split(b"\n")[0] + b"\nhello\n",
    "no uuid": lambda content: content.replace(MARKER.uuid.encode(), b"mine"),
    "a list": lambda content: content.split(b"\n")[0] + b"\n[1]\n",
    "name is a number": lambda content: content.replace(b'"vectors"', b"5"),
    "only the first line": lambda content: content.split(b"\n")[0],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "vectors"
    create(path, MARKER)
    path.write_bytes(DAMAGED[damage](path.read_bytes()))
    with pytest.raises(InvalidPathError, match="damaged.*orphans"):
        inspect(path)


def test_newer_format(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    create(path, MARKER)
    line, body = path.read_bytes().split(b"\n", 1)
    content = json.loads(body) | {"format": FORMAT + 1}
    path.write_bytes(line + b"\n" + json.dumps(content).encode())
    with pytest.raises(InvalidPathError, match="upgrade pgchassis"):
        inspect(path)


def test_what_is_no_marker(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("my notes")
    original = tmp_path / "original"
    original.write_bytes(b"CHASSIS\0" + bytes(4088))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, said in (
        (text, "of another kind"),
        (original, "chassis import"),
        (tmp_path, "is a directory"),
        (Path(), "is a directory"),
        (Path("/"), "is a directory"),
        (fifo, "not a regular file"),
        (loop, "in a circle"),
        (text / "below", "should be a directory"),
        (tmp_path / ("x" * 300), "too long"),
        (Path("a\0b"), "NUL"),
        (tmp_path / ".chassis", "where the database is kept"),
    ):
        with pytest.raises(InvalidPathError, match=said):
            inspect(path)
    assert text.read_text() == "my notes"


def test_where_no_marker_can_be_made(tmp_path: Path) -> None:
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone" / "away")
    for path, said in (
        (tmp_path / "none" / "vectors", "does not exist; create it"),
        (dangling, "symbolic link"),
    ):
        with pytest.raises(InvalidPathError, match=said):
            create(path, MARKER)
