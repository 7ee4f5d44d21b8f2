"""The command line: answers, exit codes, and what it never prints.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from pychassis import VectorIndex, _embedded
from pychassis._cli import common, main

COMMANDS = [
    *("info", "dsn", "psql", "stop", "doctor", "orphans", "ddl"),
    *("install-extension", "export", "import"),
]

Answer = Callable[..., Any]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Run a command with --json that succeeds; its answer."""

    def run(*arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def text(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that succeeds; its standard output."""

    def run(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main([*map(str, arguments)]) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def filled(index: VectorIndex) -> VectorIndex:
    index.add_batch(np.eye(3), metadata=[{"n": 0}, None, {"n": 2}])
    index.flush()
    return index


# -------------------------------------------------------------- the program itself


@pytest.mark.parametrize("package", ["chassis", "pychassis"])
def test_both_packages_run_as_programs(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for command in COMMANDS:
        assert f"\n    {command}" in done.stdout
    assert "exit codes:" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "exit codes:" in shown


def test_the_documentation_names_every_command_and_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "python-cli.md").read_text()
    for command in COMMANDS:
        assert f"`{command}" in page
    for code in (
        common.OK,
        common.FAILED,
        common.USAGE,
        common.NOT_FOUND,
        common.FINDINGS,
        common.INTERRUPTED,
    ):
        assert f"\n| {code} |" in page


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ddl", "x"], ["export"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == common.USAGE
    assert "usage:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from pychassis import __version__

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_errors_are_one_line_or_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "none.chassis")
    assert main(["info", missing]) == common.NOT_FOUND
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("chassis: error: ")
    assert main(["info", missing, "--json"]) == common.NOT_FOUND
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "IndexNotFoundError"
    assert error["sqlstate"] is None
    with pytest.raises(Exception, match="none"):
        main(["info", missing, "--debug"])


def test_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(place: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_embedded, "status", interrupt)
    assert main(["dsn", "."]) == common.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_seen_enough() -> None:
    """As in: chassis ddl … | head -1."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pychassis", "ddl", "x", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=180)
    assert process.returncode == common.FAILED
    assert errors == b""


def test_sizes_are_short() -> None:
    shown = [common.size(n) for n in (0, 9_999, 10_240, 123_456_789, 1 << 45, 1 << 60)]
    assert shown == ["0 B", "9999 B", "10 kB", "118 MB", "32 TB", "1048576 TB"]


# ----------------------------------------------------------------------------- info


def test_info_on_an_index(filled: VectorIndex, path: Path, answer: Answer) -> None:
    said = answer("info", path, "--exact")
    assert (said["count"], said["dimensions"], said["metric"]) == (3, 3, "l2")
    assert said["options"]["max_connections"] == 16


def test_info_for_people(
    filled: VectorIndex, path: Path, text: Callable[..., str]
) -> None:
    lines = text("info", path).splitlines()
    values = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) > 1)
    assert values["count"] == "3"
    assert values["max_connections"] == "16"


def test_info_on_a_directory(
    filled: VectorIndex, path: Path, answer: Answer, text: Callable[..., str]
) -> None:
    said = answer("info", path.parent)
    assert said["cluster"]["running"] is True
    mine = [row for row in said["indexes"] if row["marker"] == str(path)]
    assert [row["dimensions"] for row in mine] == [3]
    shown = text("info", path.parent)
    assert str(path) in shown
    assert "VECTORS" in shown


def test_info_on_a_server(server: str, answer: Answer) -> None:
    with VectorIndex("cli-info", 2, connection=server) as index:
        index.add([1, 2])
    said = answer("info", "-d", server)
    assert said["cluster"] is None
    assert "cli-info" in [row["name"] for row in said["indexes"]]
    assert answer("info", "cli-info", "-d", server)["count"] == 1


def test_info_without_anything(answer: Answer) -> None:
    error = answer("info", code=common.FAILED)["error"]
    assert "--connection" in error["message"]


def test_no_command_makes_a_cluster(tmp_path: Path, answer: Answer) -> None:
    for command in ("info", "dsn", "psql", "stop", "orphans"):
        answer(command, tmp_path, code=common.NOT_FOUND)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------- dsn, psql, stop


def test_dsn_leads_to_the_server(
    filled: VectorIndex, path: Path, text: Callable[..., str]
) -> None:
    for place in (path, path.parent):
        with psycopg.connect(text("dsn", place).strip()) as connection:
            row = connection.execute("SELECT current_database()").fetchone()
            assert row == ("chassis",)


def test_dsn_of_a_server_has_no_password(
    text: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me:hunter2@db.example.org/app"
    assert text("dsn", "-d", url).split() == [
        "user=me",
        "dbname=app",
        "host=db.example.org",
    ]
    monkeypatch.setenv("CHASSIS_DATABASE_URL", url)
    assert "hunter2" not in text("dsn")


def test_dsn_of_a_stopped_server(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    VectorIndex(directory / "x.chassis", 2).close()
    assert main(["dsn", str(directory)]) == common.OK
    assert "does not run now" in capsys.readouterr().err


def test_dsn_of_a_path_that_no_socket_address_holds(
    directory: Path, answer: Answer
) -> None:
    deep = directory / ("d" * 100)
    deep.mkdir(mode=0o755)
    with VectorIndex(deep / "x.chassis", 2) as index:
        index.add([1, 2])
        error = answer("dsn", deep, code=common.FAILED)["error"]
        assert "too long" in error["message"]
    said = _capture([sys.executable, "-m", "pychassis", "psql", str(deep)])
    assert said.returncode == 0, said.stderr


def _capture(command: list[str], query: str = "") -> subprocess.CompletedProcess[str]:
    """Run psql through the program; the query comes by standard input."""
    return subprocess.run(
        command, input=query, capture_output=True, text=True, timeout=180, check=False
    )


def test_psql(
    filled: VectorIndex, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    query = f"SELECT count(*) FROM {filled.table}"
    assert main(["psql", str(path), "--", "-XAtc", query]) == 0
    assert capfd.readouterr().out == "3\n"
    assert main(["psql", str(path), "--", "-Xc", "SELECT nonsense"]) == 1
    assert "nonsense" in capfd.readouterr().err


def test_psql_on_a_server(server: str) -> None:
    command = [sys.executable, "-m", "pychassis", "psql", "-d", server, "--", "-XAt"]
    done = _capture(command, "SELECT 1;")
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_psql_gets_the_password_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "psql"
    program.write_text('#!/bin/sh\necho "$@"; env\n')
    program.chmod(0o755)
    from pychassis._cli import server

    parameters = {"password": "hunter2", "host": "h", "options": "", "unknown": "x"}
    monkeypatch.setenv("PGSSLMODE", "disable")
    code = server._run_program([str(program), "-x"], parameters)
    assert code == 0
    done = _capture(
        [
            *(sys.executable, "-c"),
            "import sys; from pychassis._cli import server\n"
            f"server._run_program([{str(program)!r}, '-x'], {parameters!r})",
        ]
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "-x"
    assert "PGPASSWORD=hunter2" in lines
    assert "PGHOST=h" in lines
    assert not any(line.startswith(("PGOPTIONS", "PGSSLMODE")) for line in lines)


def test_psql_that_is_not_installed(
    answer: Answer, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    error = answer("psql", "-d", server, code=common.FAILED)["error"]
    assert "psql is not installed" in error["message"]


def test_stop(directory: Path, answer: Answer) -> None:
    with VectorIndex(directory / "x.chassis", 2) as index:
        index.add([1, 2])
        index.flush()
        assert answer("stop", directory)["stopped"] is True
        status = _embedded.status(directory)
        assert status is not None
        assert not status.running
        # Whoever uses it starts it again.
        assert len(index.search([1, 2])) == 1


# --------------------------------------------------------------------------- doctor


def test_doctor_finds_nothing(
    filled: VectorIndex, path: Path, answer: Answer, text: Callable[..., str]
) -> None:
    filled.rebuild()
    said = answer("doctor", path, "--deep")
    assert said["ok"] is True
    checks = {finding["check"] for finding in said["findings"]}
    assert {"versions", "server programs", "extension", "cluster", "server"} <= checks
    assert f"index {path.name}" in checks
    assert text("doctor", path).endswith("no problems\n")


def test_doctor_starts_nothing_unless_asked(directory: Path, answer: Answer) -> None:
    VectorIndex(directory / "x.chassis", 2).close()
    checks = [f["check"] for f in answer("doctor", directory)["findings"]]
    assert "server" not in checks
    status = _embedded.status(directory)
    assert status is not None
    assert not status.running
    checks = [f["check"] for f in answer("doctor", directory, "--start")["findings"]]
    assert "server" in checks


def problems(said: Any, level: str = "problem") -> list[str]:
    return [
        f"{finding['check']}: {finding['message']}"
        for finding in said["findings"]
        if finding["level"] == level
    ]


def test_doctor_on_an_empty_directory(tmp_path: Path, answer: Answer) -> None:
    assert answer("doctor", tmp_path)["ok"] is True
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_a_cluster_that_cannot_be_read(
    tmp_path: Path, answer: Answer
) -> None:
    (tmp_path / ".chassis").write_text("not a directory")
    said = answer("doctor", tmp_path, code=common.FINDINGS)
    assert any(line.startswith("cluster: ") for line in problems(said))


def test_doctor_finds_missing_programs(
    tmp_path: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHASSIS_PG_BIN", str(tmp_path / "none"))
    said = answer("doctor", tmp_path, code=common.FINDINGS)
    found = problems(said)
    assert any("CHASSIS_PG_BIN names no directory" in line for line in found)
    assert any(line.startswith("server programs: ") for line in found)


def test_doctor_finds_a_table_that_was_dropped(database: str, answer: Answer) -> None:
    with VectorIndex("gone", 2, connection=database) as index:
        table = index.table
    with VectorIndex("whole", 2, connection=database) as index:
        index.add([1, 2])
        index.rebuild()
        graph = index.sql_index
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP TABLE {table}".encode())
    said = answer("doctor", "-d", database, code=common.FINDINGS)
    assert problems(said) == ["index gone: its table was dropped by other means"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            b"UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass",
            [graph],
        )
    said = answer("doctor", "-d", database, "--deep", code=common.FINDINGS)
    assert any("was not built to the end" in line for line in problems(said))


def test_doctor_finds_a_missing_extension(database: str, answer: Answer) -> None:
    said = answer("doctor", "-d", database, code=common.FINDINGS)
    assert any("CREATE EXTENSION chassis" in line for line in problems(said))


def test_doctor_finds_a_server_that_is_not_there(
    tmp_path: Path, answer: Answer
) -> None:
    url = f"host={tmp_path} password=hunter2"
    said = answer("doctor", "-d", url, "--timeout", 0.1, code=common.FINDINGS)
    [problem] = problems(said)
    assert problem.startswith("server: ")
    assert "hunter2" not in json.dumps(said)


def test_doctor_shows_no_password_from_the_environment(
    tmp_path: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://me:hunter2@%2F{str(tmp_path).replace('/', '%2F')}/app"
    monkeypatch.setenv("CHASSIS_DATABASE_URL", url)
    said = answer("doctor", "--timeout", 0.1, code=common.FINDINGS)
    assert "CHASSIS_DATABASE_URL" in json.dumps(said)
    assert "hunter2" not in json.dumps(said)


# -------------------------------------------------------------------------- orphans


@pytest.fixture
def orphan(directory: Path) -> str:
    """The uuid of an index of two vectors whose file was removed."""
    with VectorIndex(directory / "lost.chassis", 2) as index:
        index.add_batch([[1, 2], [3, 4]])
    VectorIndex(directory / "kept.chassis", 2).close()
    content = (directory / "lost.chassis").read_text()
    (directory / "lost.chassis").unlink()
    return str(json.loads(content.split("\n", 1)[1])["uuid"])


def test_orphans_are_listed(
    directory: Path, orphan: str, answer: Answer, text: Callable[..., str]
) -> None:
    [row] = answer("orphans", directory)
    assert (row["uuid"], row["count"]) == (orphan, 2)
    assert orphan in text("orphans", directory)
    found = answer("doctor", directory, "--start")
    assert any(orphan or "orphans" in line for line in problems(found, "warning"))


def test_an_orphan_is_restored(directory: Path, orphan: str, answer: Answer) -> None:
    taken = answer(
        *("orphans", directory, "--restore", orphan, "kept.chassis"),
        code=common.FAILED,
    )
    assert "exists" in taken["error"]["message"]
    answer("orphans", directory, "--restore", orphan[:8], "found.chassis")
    assert answer("orphans", directory) == []
    with VectorIndex.open(directory / "found.chassis") as index:
        assert index.get(1).tolist() == [3, 4]


def test_an_orphan_is_dropped(directory: Path, orphan: str, answer: Answer) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    answer("orphans", directory, "--drop", unknown, code=common.NOT_FOUND)
    assert answer("orphans", directory, "--drop", orphan) == {"dropped": [orphan]}
    names = [row["name"] for row in answer("info", directory)["indexes"]]
    assert names == ["kept.chassis"]


def test_all_orphans_are_dropped(
    directory: Path, orphan: str, text: Callable[..., str]
) -> None:
    assert "dropped lost.chassis" in text("orphans", directory, "--drop")
    assert text("orphans", directory, "--drop") == "there are no orphans\n"


def test_an_index_that_was_moved_below_is_no_orphan(
    directory: Path, orphan: str, answer: Answer
) -> None:
    (directory / "sub").mkdir()
    (directory / "kept.chassis").rename(directory / "sub" / "other.chassis")
    assert [row["uuid"] for row in answer("orphans", directory)] == [orphan]


# ------------------------------------------------------------------------------ ddl


def test_ddl_makes_an_index_that_opens(
    database: str, as_role: Callable[[str], str], text: Callable[..., str]
) -> None:
    """Run by an administrator, it lets a role work that may create nothing."""
    script = text("ddl", "Docs: all", 3, "--role", "cli_app", "--metric", "cosine")
    now, later = script.split("-- When there are vectors")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(b"DROP ROLE IF EXISTS cli_app")
        connection.execute(b"CREATE ROLE cli_app LOGIN")
        connection.execute(now.encode())
    with VectorIndex("Docs: all", 3, connection=as_role("cli_app")) as index:
        assert index.metric == "cosine"
        assert index.add([1, 2, 3]) == 0
        index.flush()
        table = index.table
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(later.split("\n", 1)[1].encode())
        rows = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%USING chassis%'"
        ).fetchall()
        assert len(rows) == 1
        assert table.split(".")[1].strip('"') in rows[0][0]
        connection.execute(f"DROP TABLE {table}".encode())
        connection.execute(b"DROP OWNED BY cli_app")
        connection.execute(b"DROP ROLE cli_app")


def test_ddl_in_a_database_that_has_the_catalogue(
    database: str, text: Callable[..., str]
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for name in ("one", "two"):
            script = text("ddl", name, 3, "--schema", "odd schema")
            connection.execute(script.split("-- When")[0].encode())
    with VectorIndex("two", 3, connection=database, schema="odd schema") as index:
        assert index.add([1, 2, 3]) == 0


def test_ddl_for_pgvector(answer: Answer) -> None:
    said = answer("ddl", "x", 3, "--engine", "pgvector")
    assert 'EXTENSION IF NOT EXISTS "vector"' in said["statements"][0]
    assert "USING hnsw" in said["index"]
    assert "ef_search" not in said["index"]


@pytest.mark.parametrize(
    "arguments",
    [["x", "0"], ["x", "16001"], ["x", "3", "--max-connections", "1"]],
)
def test_ddl_refuses_what_cannot_be(arguments: list[str], answer: Answer) -> None:
    assert answer("ddl", *arguments, code=common.FAILED)["error"]["message"]


def test_names_in_ddl_are_quoted(answer: Answer) -> None:
    name = "x'; DROP TABLE y; --"
    said = answer("ddl", name, 3, "--table", 'a"b', "--role", 'c"d')
    statements = "\n".join(said["statements"])
    assert "'x''; DROP TABLE y; --'" in statements
    assert '"a""b"' in statements
    assert '"c""d"' in statements


# ----------------------------------------------------------------- install-extension


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A directory with the files of an extension, as CHASSIS_LIB_PATH names it."""

    def make(major: int) -> Path:
        place = tmp_path / "lib" / str(major)
        place.mkdir(parents=True)
        for name in ("chassis.so", "chassis--0.2.0.sql", "chassis_embedded.so"):
            (place / name).write_text(name)
        (place / "chassis.control").write_text("default_version = '0.2.0'\n")
        monkeypatch.setenv("CHASSIS_LIB_PATH", str(tmp_path / "lib"))
        return place

    return make


@pytest.fixture
def pg_config(tmp_path: Path) -> Path:
    program = tmp_path / "pg_config"
    program.write_text(
        '#!/bin/sh\necho "PostgreSQL 97.1 (Some Linux 97.1-1)"\n'
        f"echo {tmp_path}/share\necho {tmp_path}/pkglib\n"
    )
    program.chmod(0o755)
    return program


def test_the_extension_is_installed(
    tmp_path: Path,
    shipped: Callable[[int], Path],
    pg_config: Path,
    answer: Answer,
    text: Callable[..., str],
) -> None:
    shipped(97)
    arguments = ("install-extension", "--pg-config", pg_config)
    said = answer(*arguments, "--dry-run")
    assert said["installed"] is False
    assert not (tmp_path / "share").exists()
    said = answer(*arguments)
    expected = [
        tmp_path / "share" / "extension" / "chassis--0.2.0.sql",
        tmp_path / "share" / "extension" / "chassis.control",
        tmp_path / "pkglib" / "chassis.so",
    ]
    assert said["files"] == [str(path) for path in expected]
    assert all(path.exists() for path in expected)
    # The watcher is for directories' private servers only.
    assert not (tmp_path / "pkglib" / "chassis_embedded.so").exists()
    assert "CREATE EXTENSION chassis" in text(*arguments)
    staged = answer(*arguments, "--destdir", tmp_path / "stage")
    assert Path(staged["files"][2]) == Path(
        f"{tmp_path}/stage{tmp_path}/pkglib/chassis.so"
    )


def test_an_extension_that_is_not_there(
    pg_config: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHASSIS_LIB_PATH", str(tmp_path))
    error = answer("install-extension", "--pg-config", pg_config, code=common.FAILED)[
        "error"
    ]
    assert "PostgreSQL 97" in error["message"]


@pytest.mark.parametrize(
    ("script", "message"),
    [("exit 1", "could not run"), ("echo x; echo y; echo z", "says it is 'x'")],
)
def test_a_pg_config_that_is_none(
    tmp_path: Path, answer: Answer, script: str, message: str
) -> None:
    program = tmp_path / "pg_config"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    said = answer("install-extension", "--pg-config", program, code=common.FAILED)
    assert message in said["error"]["message"]


def test_a_directory_that_may_not_be_written(
    shipped: Callable[[int], Path],
    pg_config: Path,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped(97)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "copyfile", refuse)
    said = answer("install-extension", "--pg-config", pg_config, code=common.FAILED)
    assert "Run this as the user" in said["error"]["message"]


# -------------------------------------------------------------------- export, import


def test_export_and_import(
    filled: VectorIndex,
    path: Path,
    new_path: Callable[[], Path],
    tmp_path: Path,
    answer: Answer,
    text: Callable[..., str],
) -> None:
    archive = tmp_path / "a.zip"
    said = answer("export", path, archive)
    assert (said["count"], said["dimensions"]) == (3, 3)
    assert said["bytes"] == archive.stat().st_size
    assert "sound: 3 x 3" in text("import", "--check", archive, "unused")
    assert answer("import", archive, "unused", "--check")["count"] == 3
    target = new_path()
    said = answer("import", archive, target, "--ef-search", 99)
    assert (said["count"], said["metric"]) == (3, "l2")
    with VectorIndex.open(target) as copy:
        assert copy.metadata(2) == {"n": 2}
        assert copy.options.ef_search == 99
        assert copy.options.max_connections == 16
    exists = answer("import", archive, target, code=common.FAILED)["error"]
    assert "exists" in exists["message"]
    said = answer("import", archive, target, "--append", "--new-ids")
    assert said["count"] == 6


def test_import_of_arrays(
    new_path: Callable[[], Path], tmp_path: Path, answer: Answer
) -> None:
    np.save(tmp_path / "x.npy", np.eye(4))
    target = new_path()
    said = answer("import", tmp_path / "x.npy", target, "--metric", "cosine")
    assert said == {
        "index": str(target),
        "count": 4,
        "dimensions": 4,
        "metric": "cosine",
    }


def test_import_of_a_damaged_file(
    new_path: Callable[[], Path], tmp_path: Path, answer: Answer
) -> None:
    (tmp_path / "x.fvecs").write_bytes(b"\x03\0\0\0abc")
    target = new_path()
    said = answer("import", tmp_path / "x.fvecs", target, code=common.FINDINGS)
    assert said["error"]["type"] == "FileFormatError"
    assert not target.exists()
    answer("import", tmp_path / "none", target, code=common.FAILED)


def test_export_and_import_on_a_server(
    server: str, tmp_path: Path, answer: Answer
) -> None:
    with VectorIndex("cli-export", 2, connection=server) as index:
        index.add([1, 2])
    answer("export", "cli-export", tmp_path / "a.zip", "-d", server)
    said = answer("import", tmp_path / "a.zip", "cli-import", "-d", server)
    assert said["count"] == 1


def test_progress_is_shown_to_people_only(
    filled: VectorIndex, path: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pychassis", "export", str(path)]
    piped = _capture([*command, str(tmp_path / "a.zip")])
    assert (piped.returncode, piped.stderr) == (0, "")
    for quiet, bars in (([], True), (["--quiet"], False)):
        main_end, terminal = pty.openpty()
        # tqdm draws nothing on a terminal without columns.
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        with os.fdopen(main_end, "rb", buffering=0) as screen:
            done = subprocess.run(
                [*command, str(tmp_path / "a.zip"), *quiet],
                stdout=subprocess.PIPE,
                stderr=terminal,
                text=True,
                timeout=180,
                check=True,
            )
            os.write(terminal, b"end")
            os.close(terminal)
            shown = b""
            while not shown.endswith(b"end"):
                shown += screen.read(65536)
        assert "3 vectors written" in done.stdout
        assert (b"vectors" in shown) == bars
