"""README.md of this package says what is true: its blocks are run as they stand.

The Python blocks run one after the other in one empty folder, as a reader would
who follows the page, and so do the commands that need no checkout.  The rest of
the shell blocks is compared with what test_snippets.py runs in a checkout.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import servers
from test_snippets import read_blocks

import pychassis
import pychassis.exceptions

PYTHON = Path(__file__).parents[1]
README = (PYTHON / "README.md").read_text()
BLOCKS = read_blocks(README)
ERRORS = (PYTHON.parent / "docs" / "python-errors.md").read_text()


def run(
    arguments: list[str], directory: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    # "python" and "pip" are those of this environment, as if it were activated.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        arguments,
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=servers.PATIENCE,
    )


def test_blocks_run_in_order(directory: Path, database: str) -> None:
    count = 0
    for language, text in BLOCKS:
        if language == "python":
            arguments = [sys.executable, "-W", "error", "-c", text]
        elif "python -m chassis" in text:
            arguments = ["bash", "-e", "-c", text]
        else:
            continue
        result = run(arguments, directory, MY_DATABASE=database)
        assert result.returncode == 0, f"{text}\n{result.stdout}{result.stderr}"
        assert "Traceback" not in result.stderr
        count += 1
    assert count == 9


def test_other_shell_blocks_are_run_elsewhere() -> None:
    """Those of checkout and wheel; a new one has to be added to a test."""
    rest = [
        line.split(" #")[0].strip()
        for language, text in BLOCKS
        if language == "sh" and "python -m chassis" not in text
        for line in text.splitlines()
    ]
    assert rest == [
        "make python",
        ".venv/bin/python your_script.py",
        "make wheel",
        'pip install "$(ls dist/pgchassis-*.whl)[server]"',
        "export CHASSIS_LIB_PATH=/path/to/lib",
        "python your_script.py",
        "pytest",
        "pytest --cov=pychassis --cov-report=html",
        "pytest tests/test_index.py::test_add_and_search",
        "mypy pychassis",
        "ruff check pychassis tests",
        "black --check pychassis tests",
    ]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (PYTHON / target).exists(), target


def test_environment_variables_are_those_of_the_code() -> None:
    """None is missing from the table, and none in it is invented."""
    used: set[str] = set()
    for file in (PYTHON / "pychassis").rglob("*.py"):
        used |= set(re.findall(r"[\"'](CHASSIS_[A-Z_]+)[\"']", file.read_text()))
    listed = set(re.findall(r"CHASSIS_[A-Z_]+", README))
    assert used == listed


def test_every_operator_is_named() -> None:
    named = re.search(r"^Operators: `([^`]+)`", README, re.MULTILINE)
    assert named is not None
    source = (PYTHON / "pychassis" / "_filters.py").read_text()
    assert set(named[1].split()) == set(re.findall(r"\$[a-z]+", source))


def test_every_exception_is_documented() -> None:
    headings = re.findall(r"^## (\w+)$", ERRORS, re.MULTILINE)
    names = [n for n in pychassis.exceptions.__all__ if n.endswith("Error")]
    assert sorted(set(headings) - {"Warnings"}) == sorted(names)
    for name in names:
        assert issubclass(getattr(pychassis.exceptions, name), pychassis.ChassisError)
