"""What users do to the file of an index, and what must come of it.

The file is a small marker; the vectors are in the server beside it.  Renaming,
copying, linking, removing and moving it therefore each have a meaning that has
to be checked: nothing that was flushed is lost, and what cannot be meant is
refused with a reason.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Process

from pychassis import (
    ChassisError,
    DimensionMismatchError,
    IndexNotFoundError,
    IndexOptions,
    InvalidPathError,
    SearchResult,
    VectorIndex,
)

NewPath = Callable[[], Path]


def fill(path: Path, *values: float) -> None:
    """An index of one dimension with these vectors, flushed and closed."""
    with VectorIndex(path, dimensions=1) as index:
        for value in values:
            index.add([value])
        index.flush()


def read(path: Path) -> list[float]:
    """Its vectors in the order of their ids."""
    with VectorIndex.open(path) as index:
        return [float(index.get(i)[0]) for i in sorted(index)]


def refused(path: Any, *words: str, **options: Any) -> None:
    """Opening raises InvalidPathError, whose text has all these words."""
    with pytest.raises(InvalidPathError) as caught:
        VectorIndex(path, dimensions=1, **options)
    for word in words:
        assert word.lower() in str(caught.value).lower(), str(caught.value)


def command(*arguments: object) -> Any:
    """What ``python -m chassis ARGUMENTS --json`` prints."""
    result = subprocess.run(
        [sys.executable, "-m", "chassis", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# --- paths that cannot be an index ----------------------------------------------


def test_missing_parent(busy_directory: Path) -> None:
    refused(busy_directory / "missing" / "a.chassis", "missing", "exist")
    assert not (busy_directory / "missing").exists()


def test_parent_is_a_file(path: Path) -> None:
    path.write_text("")
    refused(path / "a.chassis", str(path))


def test_path_is_a_directory(path: Path) -> None:
    path.mkdir()
    refused(path, "directory", str(path))
    refused(str(path) + "/", "directory")


def test_path_with_nul_byte(busy_directory: Path) -> None:
    refused(str(busy_directory / "a\0b.chassis"), "nul")


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_path_without_a_name(path: str) -> None:
    refused(path)


@pytest.mark.parametrize("path", [None, 7, b"bytes.chassis", ["a"]])
def test_path_of_another_type(path: Any, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    with pytest.raises((TypeError, InvalidPathError)):
        VectorIndex(path, dimensions=1)
    assert list(tmp_path.iterdir()) == []


def test_name_too_long(busy_directory: Path) -> None:
    refused(busy_directory / ("x" * 300))


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_path_is_no_regular_file(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
        refused(path)
    else:
        refused("/dev/null")
        assert not Path("/dev/.chassis").exists()


NAMES = [
    'it\'s "q" $(touch X) `touch X`;.chassis',
    "two\nlines.chassis",
    "ünïcödé 向量 🙂.chassis",
    "%s%(x)s{}.chassis",
    "-rf.chassis",
    "no extension",
    "x" * 255,
    ".hidden",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_other_name_works(busy_directory: Path, name: str) -> None:
    fill(busy_directory / name, 4, 5)
    assert read(busy_directory / name) == [4, 5]
    assert not Path("X").exists()


def test_name_that_is_not_utf8(busy_directory: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(busy_directory) + b"/\xff\xfe.chassis"))
    fill(path, 1)
    assert read(path) == [1]


# --- files that are no index ------------------------------------------------------


def test_empty_file_becomes_an_index(path: Path) -> None:
    path.touch()
    fill(path, 1, 2)
    assert read(path) == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"hello, world\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"{}",
        b"[]\n",
        b"null",
        b'{"uuid": 7}',
        b"\n",
        b"\xff" * 5000,
    ],
)
def test_foreign_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, str(path))
    with pytest.raises(InvalidPathError):
        VectorIndex.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("part", [1, 10, 0.5, 0.9])
def test_truncated_marker(path: Path, part: float) -> None:
    fill(path, 1, 2, 3)
    whole = path.read_bytes()
    cut = int(part) if part >= 1 else int(len(whole) * part)
    path.write_bytes(whole[:cut])
    refused(path, str(path))
    path.write_bytes(whole)
    assert read(path) == [1, 2, 3]


def test_marker_with_another_uuid(path: Path) -> None:
    fill(path, 1)
    text = path.read_text()
    marker = text[text.index("{") :]
    uuid = json.loads(marker)["uuid"]
    changed = uuid[:-4] + ("0000" if uuid[-4:] != "0000" else "1111")
    path.write_text(text.replace(uuid, changed))
    with pytest.raises(IndexNotFoundError) as caught:
        VectorIndex(path, dimensions=1)
    assert str(path) in str(caught.value)
    path.write_text(text)
    assert read(path) == [1]


def test_marker_says_that_it_holds_no_vectors(path: Path) -> None:
    fill(path, 1)
    first = path.read_text().splitlines()[0]
    assert "no vectors" in first or "does not contain" in first


def test_file_of_the_original_engine(path: Path) -> None:
    content = b"CHASSIS\0" + bytes(8192)
    path.write_bytes(content)
    refused(path, "import", "python -m chassis")
    assert path.read_bytes() == content


def test_no_permission(directory: Path, second_process: Callable[..., Process]) -> None:
    """An ordinary user gets a reason, be it the folder, the file or the data."""
    closed = directory / "closed"
    closed.mkdir()
    mine = directory / "mine.chassis"
    fill(mine, 1)
    closed.chmod(0o700)
    process = second_process(
        """
        import importlib, pathlib, pkgutil, pwd, encodings.idna, psycopg, getpass
        import pychassis
        # before the change of user, who may not read the interpreter's files
        for found in pkgutil.walk_packages(pychassis.__path__, "pychassis."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
        closed, mine = map(pathlib.Path, sys.argv[1:])
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.setgroups([]); os.setgid(nobody.pw_gid); os.setuid(nobody.pw_uid)
        else:
            closed.chmod(0o500), mine.chmod(0o000)
        for path in (closed / "a.chassis", closed.parent / "b.chassis", mine):
            try:
                VectorIndex(path, dimensions=1)
            except ChassisError as error:
                say([type(error).__name__, str(error)])
            else:
                say(["opened", str(path)])
        """,
        closed,
        mine,
    )
    answers = [process.hear() for _ in range(3)]
    process.end()
    if os.geteuid() != 0:
        mine.chmod(0o600)
        del answers[1]  # one's own folder can be written to
    for kind, text in answers:
        assert kind == "InvalidPathError", text
        assert "permission" in text.lower() or "belongs to" in text.lower(), text
    assert read(mine) == [1]


# --- reopening ------------------------------------------------------------------------


def test_other_dimensions(path: Path) -> None:
    fill(path, 1, 2)
    with pytest.raises(DimensionMismatchError) as caught:
        VectorIndex(path, dimensions=7)
    assert "1" in str(caught.value)
    assert "7" in str(caught.value)
    assert str(path) in str(caught.value)
    assert read(path) == [1, 2]


def test_other_metric(path: Path) -> None:
    with VectorIndex(path, 1, IndexOptions(metric="cosine")):
        pass
    with VectorIndex(path, 1) as index:
        assert index.options.metric == "cosine"
    with pytest.raises(ChassisError, match="cosine"):
        VectorIndex(path, 1, IndexOptions(metric="l1"))


def test_open_and_create_false_never_create(path: Path) -> None:
    attempts: list[Callable[[], VectorIndex]] = [
        lambda: VectorIndex.open(path),
        lambda: VectorIndex(path, dimensions=1, create=False),
    ]
    for attempt in attempts:
        with pytest.raises(IndexNotFoundError) as caught:
            attempt()
        assert str(path) in str(caught.value)
    assert not path.exists()


def test_create_false_starts_no_server(directory: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        VectorIndex(directory / "a.chassis", dimensions=1, create=False)
    assert list(directory.iterdir()) == []


def test_read_only(path: Path) -> None:
    fill(path, 1, 2)
    with VectorIndex.open(path, read_only=True) as index:
        assert index.search([1], k=1) == [SearchResult(0, 0.0)]
        writes: list[Callable[[], object]] = [
            lambda: index.add([3]),
            lambda: index.add_batch([[3]]),
            lambda: index.delete(0),
            index.drop,
        ]
        for write in writes:
            with pytest.raises(ChassisError, match="(?i)read.only"):
                write()
    assert read(path) == [1, 2]


# --- rename, replace, copy, remove -------------------------------------------------------


def test_rename_and_recreate(new_path: NewPath) -> None:
    old, new = new_path(), new_path()
    fill(old, 1, 2)
    old.rename(new)
    fill(old, 7)
    assert read(new) == [1, 2]
    assert read(old) == [7]


def test_rename_while_open(new_path: NewPath) -> None:
    old, new = new_path(), new_path()
    with VectorIndex(old, dimensions=1) as index:
        index.add([1])
        old.rename(new)
        index.add([2])
        index.flush()
        with VectorIndex(old, dimensions=1) as other:
            assert other.is_empty()
            assert other.add([7]) == 0
        assert len(index) == 2
    assert read(new) == [1, 2]
    assert read(old) == [7]


def test_replace_over_an_index(new_path: NewPath, busy_directory: Path) -> None:
    """The usual way to put a rebuilt index in the place of the old one."""
    current, rebuilt, rescued = new_path(), new_path(), new_path()
    fill(current, 1, 2)
    fill(rebuilt, 5, 6, 7)
    os.replace(rebuilt, current)
    assert read(current) == [5, 6, 7]
    restore(busy_directory, rescued, [1, 2])


def restore(directory: Path, path: Path, values: list[float]) -> None:
    """The index without a file that has these vectors comes back at path."""
    for orphan in command("orphans", directory):
        command("orphans", directory, "--restore", orphan["uuid"], path.name)
        if read(path) == values:
            return
        path.unlink()
    raise AssertionError("no orphan has these vectors")


def test_two_indexes_swap_their_files(new_path: NewPath) -> None:
    first, second, aside = new_path(), new_path(), new_path()
    fill(first, 1)
    fill(second, 2)
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    assert read(first) == [2]
    assert read(second) == [1]


def test_copy_of_the_file_is_refused(new_path: NewPath) -> None:
    original, copy = new_path(), new_path()
    fill(original, 1)
    shutil.copy(original, copy)
    refused(copy, "copy", "export", str(original))
    assert read(original) == [1]
    # after the original has gone the copy is what is left of it
    original.unlink()
    assert read(copy) == [1]


def test_file_restored_from_a_copy(new_path: NewPath) -> None:
    path, backup = new_path(), new_path()
    fill(path, 1, 2)
    shutil.copy(path, backup)
    path.unlink()
    shutil.copy(backup, path)
    backup.unlink()
    assert read(path) == [1, 2]


def test_file_in_another_directory(path: Path, directory: Path) -> None:
    """A moved file still finds the server that it was made in."""
    fill(path, 1, 2)
    moved = directory / "moved.chassis"
    shutil.move(path, moved)
    assert read(moved) == [1, 2]
    assert not (directory / ".chassis").exists()


def test_unlink_and_recreate(
    new_path: NewPath, busy_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, rescued = new_path(), new_path()
    fill(path, 1, 2, 3)
    path.unlink()
    with (
        caplog.at_level(logging.WARNING, logger="pychassis"),
        VectorIndex(path, dimensions=4) as index,
    ):
        assert index.is_empty()
        assert index.add([1, 2, 3, 4]) == 0
    assert any("orphans" in r.getMessage() for r in caplog.records)
    restore(busy_directory, rescued, [1, 2, 3])


def test_unlink_while_open(path: Path) -> None:
    with VectorIndex(path, dimensions=1) as index:
        index.add([1])
        path.unlink()
        index.add([2])
        index.flush()
        assert len(index) == 2
    assert not path.exists()


def test_drop_removes_everything(path: Path, busy_directory: Path) -> None:
    index = VectorIndex(path, dimensions=1)
    index.add([1])
    index.flush()
    index.drop()
    assert not path.exists()
    with pytest.raises(ChassisError, match="^Index is closed"):
        index.add([2])
    with VectorIndex(path, dimensions=2) as again:
        assert again.is_empty()


def test_orphans_are_dropped_only_when_told(path: Path, directory: Path) -> None:
    lost = directory / "lost.chassis"
    fill(lost, 1)
    lost.unlink()
    [orphan] = command("orphans", directory)
    assert command("orphans", directory) == [orphan]
    command("orphans", directory, "--drop")
    assert command("orphans", directory) == []


# --- links ----------------------------------------------------------------------------------


def test_symlink_to_an_index(new_path: NewPath, directory: Path) -> None:
    path, near = new_path(), new_path()
    fill(path, 1)
    near.symlink_to(path.name)
    far = directory / "far.chassis"
    far.symlink_to(path)
    for link in (near, far):
        with VectorIndex(link, dimensions=1) as index:
            index.add([2])
    assert link.is_symlink()
    assert read(path) == [1, 2, 2]
    # both names at once are one index with one writer
    with VectorIndex(path, 1) as a, VectorIndex(far, 1) as b:
        assert [a.add([3]), b.add([4]), a.add([5])] == [3, 4, 5]
    assert not (directory / ".chassis").exists()


def test_symlinked_directory(busy_directory: Path, directory: Path) -> None:
    link = directory / "link"
    link.symlink_to(busy_directory)
    fill(link / "linked.chassis", 1)
    assert read(busy_directory / "linked.chassis") == [1]


def test_dangling_symlink(new_path: NewPath) -> None:
    target, link = new_path(), new_path()
    link.symlink_to(target.name)
    fill(link, 1)
    assert link.is_symlink()
    assert read(target) == [1]


def test_circular_symlink(path: Path) -> None:
    path.symlink_to(path.name)
    refused(path)


# --- the directory -----------------------------------------------------------------------------


def test_moved_directory(directory: Path) -> None:
    old, new = directory / "old", directory / "new"
    old.mkdir()
    fill(old / "a.chassis", 1, 2)
    old.rename(new)
    assert read(new / "a.chassis") == [1, 2]
    fill(new / "a.chassis", 3)
    assert read(new / "a.chassis") == [1, 2, 3]


def test_directory_moved_while_open(directory: Path) -> None:
    old, new = directory / "old", directory / "new"
    old.mkdir()
    index = VectorIndex(old / "a.chassis", dimensions=1)
    index.add([1])
    index.flush()
    old.rename(new)
    index.add([2])
    index.flush()
    assert index.search([2], k=1) == [SearchResult(1, 0.0)]
    index.close()
    assert read(new / "a.chassis") == [1, 2]
    assert not old.exists()


def test_another_directory_in_the_place_of_a_moved_one(directory: Path) -> None:
    old, new = directory / "old", directory / "new"
    old.mkdir()
    with VectorIndex(old / "a.chassis", dimensions=1) as first:
        first.add([1])
        old.rename(new)
        old.mkdir()
        with VectorIndex(old / "a.chassis", dimensions=1) as second:
            assert second.is_empty()
            second.add([7])
            first.add([2])
    assert read(new / "a.chassis") == [1, 2]
    assert read(old / "a.chassis") == [7]


def test_copied_and_restored_directory(directory: Path) -> None:
    """A copy of the folder, taken while nothing is open, is a backup."""
    place, backup = directory / "place", directory / "backup"
    place.mkdir()
    fill(place / "a.chassis", 1, 2)
    shutil.copytree(place, backup)
    keep_owner(place, backup)
    fill(place / "a.chassis", 3)
    assert read(place / "a.chassis") == [1, 2, 3]
    shutil.rmtree(place)
    backup.rename(place)
    assert read(place / "a.chassis") == [1, 2]


def keep_owner(source: Path, copy: Path) -> None:
    """What ``cp -a`` does and copytree does not."""
    for path in [source, *source.rglob("*")]:
        status = path.lstat()
        os.lchown(copy / path.relative_to(source), status.st_uid, status.st_gid)


def test_removed_directory(directory: Path) -> None:
    """TemporaryDirectory may remove everything right after close()."""
    place = directory / "place"
    place.mkdir()
    fill(place / "a.chassis", 1)
    shutil.rmtree(place)
    place.mkdir()
    fill(place / "a.chassis", 2)
    assert read(place / "a.chassis") == [2]


def test_chdir_after_open(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = directory / "first", directory / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    index = VectorIndex("a.chassis", dimensions=1)
    index.add([1])
    monkeypatch.chdir(second)
    index.add([2])
    index.flush()
    assert len(index) == 2
    index.close()
    assert list(second.iterdir()) == []
    assert read(first / "a.chassis") == [1, 2]


@pytest.mark.parametrize("name", ['it\'s "q" $(touch X)', "a b\\c\n%d", "x" * 200])
def test_directory_with_a_strange_name(directory: Path, name: str) -> None:
    """Nothing of the name reaches a shell, a format or a length limit."""
    place = directory / name
    place.mkdir()
    fill(place / "a.chassis", 1, 2)
    assert read(place / "a.chassis") == [1, 2]
    assert [p.name for p in directory.iterdir()] == [name]
    assert sorted(p.name for p in place.iterdir()) == [".chassis", "a.chassis"]


def test_nothing_is_written_outside_the_directory(directory: Path) -> None:
    """Neither beside it nor in the temporary or home directory."""
    place, elsewhere = directory / "place", directory / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    code = (
        "import sys; from chassis import VectorIndex\n"
        "with VectorIndex(sys.argv[1], 2) as index:\n"
        "    [index.add([i, i]) for i in range(3000)]; index.flush()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(place / "a.chassis")],
        cwd=elsewhere,
        env={**os.environ, "HOME": str(elsewhere), "TMPDIR": str(elsewhere)},
        check=True,
        timeout=180,
    )
    assert list(elsewhere.iterdir()) == []
    assert sorted(p.name for p in place.iterdir()) == [".chassis", "a.chassis"]
    assert sorted(p.name for p in directory.iterdir()) == ["elsewhere", "place"]
