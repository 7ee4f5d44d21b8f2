"""The programs in examples/ run as they stand, with either kind of server.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import servers

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, directory: Path, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=servers.PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_every_example_is_run() -> None:
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert names == ["basic_usage.py", "batch_insert.py"]


def test_basic_usage(directory: Path) -> None:
    printed = run("basic_usage.py", directory)
    assert "nearest to 'apple'" in printed
    assert "1,000 vectors" in printed
    # a second run finds what the first has left, and says so
    again = run("basic_usage.py", directory)
    assert "2,000 vectors" in again


def test_batch_insert(directory: Path) -> None:
    printed = run("batch_insert.py", directory, "3000")
    assert "3,000 vectors" in printed
    assert "recall" in printed


@pytest.mark.parametrize("name", ["basic_usage.py", "batch_insert.py"])
def test_on_an_existing_server(name: str, tmp_path: Path, database: str) -> None:
    arguments = ["3000"] if name == "batch_insert.py" else []
    run(name, tmp_path, *arguments, CHASSIS_DATABASE_URL=database)
    assert list(tmp_path.iterdir()) == []
