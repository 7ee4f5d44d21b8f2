"""Every code block of the original README (seed/SEED.md) does what it says.

The blocks are read from the file, never repeated here.  Complete ones run
alone in a process and an empty directory of their own; fragments run after the
preamble that stands beside their name below; signatures are compared with the
classes; shell blocks run in a copy of the checkout, with the Rust build
replaced by ``make python``.  Two blocks are not valid Python, and are named.
A block that none of the tables below names makes a test fail.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
from conftest import make_open_directory, wait_for_no_server

import pychassis

SEED = (Path(__file__).parent / "seed" / "SEED.md").read_text()
CHECKOUT = Path(__file__).parents[2]
NAMES = ["pychassis", "chassis"]

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def read_blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of every block, without the indentation of its list."""
    return [(m[2], textwrap.dedent(m[3])) for m in BLOCK.finditer(text)]


BLOCKS = read_blocks(SEED)

# Name of the block: a line that only it contains.
COMPLETE = {
    "quick start": 'index = VectorIndex("embeddings.chassis", dimensions=768)',
    "options": 'index = VectorIndex("tuned.chassis", dimensions=768, options=options)',
    "errors": "except DimensionMismatchError as e:",
}

IMPORT = "from pychassis import VectorIndex\n"
WITH_INDEX = (
    IMPORT + "import numpy as np\n"
    'index = VectorIndex("fragments.chassis", dimensions=3)\n'
    "vectors = np.random.default_rng(1).random((20, 3), dtype=np.float32)\n"
    "query = vector1 = vectors[0]\n"
    "queries = many_vectors = vectors\n"
    "k = 10\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
)
FRAGMENTS = {
    "context manager": ("# Index is automatically closed here", IMPORT),
    "batch": ('with VectorIndex("large.chassis", dimensions=768) as index:', IMPORT),
    "numpy": ("# All are automatically converted to float32", WITH_INDEX),
    "safe": ("# Thread 2: Reader (concurrent with writes is UNSAFE)", WITH_INDEX),
    "recommended": ("# Phase 2: Read (multiple threads OK)", WITH_INDEX),
    "tip 1": ("for vec in many_vectors:", WITH_INDEX),
    "tip 2": ("# Faster (zero-copy)", "import numpy as np\n"),
}

DATACLASSES = {
    "IndexOptions": "class IndexOptions:",
    "SearchResult": "class SearchResult:",
}

# Not Python: annotations in a call, and a with statement without a body.
INVALID = {
    "constructor": "VectorIndex(path: str | Path, dimensions: int, options:",
    "tip 4": "with VectorIndex(...) as index:",
}

SHELL = {
    "build": "cargo build --release",
    "install": "cd ../pychassis",
    "development": 'pip install -e ".[dev]"',
    "location": "export CHASSIS_LIB_PATH=/path/to/lib",
    "testing": "pytest --cov=pychassis --cov-report=html",
}


def block(line: str) -> str:
    """The only block that contains the line."""
    found = [text for _, text in BLOCKS if line in text]
    assert len(found) == 1, f"{len(found)} blocks contain {line!r}"
    return found[0]


def test_every_block_is_dealt_with() -> None:
    fragments = [line for line, _ in FRAGMENTS.values()]
    python = [*COMPLETE.values(), *fragments, *DATACLASSES.values(), *INVALID.values()]
    dealt_with = [block(line) for line in [*python, *SHELL.values()]]
    assert sorted(dealt_with) == sorted(text for _, text in BLOCKS)
    assert len(BLOCKS) == SEED.count("```") / 2 == 19
    shell = [text for language, text in BLOCKS if language == "bash"]
    assert sorted(shell) == sorted(block(line) for line in SHELL.values())


def test_two_blocks_are_not_valid_python() -> None:
    refused = []
    for language, text in BLOCKS:
        if language == "python":
            try:
                ast.parse(text)
            except SyntaxError:
                refused.append(text)
    assert sorted(refused) == sorted(block(line) for line in INVALID.values())


# --- Python that runs ---------------------------------------------------------------


def imported_as(text: str, name: str) -> str:
    return re.sub(r"from (py)?chassis import", f"from {name} import", text)


def execute(text: str, space: dict[str, Any]) -> None:
    """As a file of its own would be: without this one's __future__ imports."""
    exec(compile(text, "block", "exec", dont_inherit=True), space)


def run_alone(text: str, directory: Path) -> str:
    """Standard output of a program in an empty directory."""
    program = directory / "program.py"
    program.write_text(text)
    result = subprocess.run(
        [sys.executable, program.name],
        cwd=directory,
        capture_output=True,
        check=False,
        text=True,
        timeout=servers.PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_quick_start(name: str, directory: Path) -> None:
    text = imported_as(block(COMPLETE["quick start"]), name)
    lines = run_alone(text, directory).splitlines()
    assert lines[:1000] == [f"Added vector {i}" for i in range(1000)]
    results = [re.fullmatch(r"ID: (\d+), Distance: (.*)", s) for s in lines[1000:1010]]
    distances = [float(m[2]) for m in results if m]
    assert len(distances) == 10
    assert distances == sorted(distances)
    assert lines[1010:] == ["Total vectors: 1000", "Dimensions: 768", "Empty: False"]
    # the program did not close the index, and could be run again
    assert run_alone(text, directory).startswith("Added vector 1000\n")


@pytest.mark.parametrize("name", NAMES)
def test_options_block(name: str, directory: Path) -> None:
    text = imported_as(block(COMPLETE["options"]), name)
    run_alone(text, directory)
    check = (
        f"\nfrom {name} import VectorIndex as V\nprint(V.open('tuned.chassis').options)"
    )
    printed = run_alone(check, directory)
    for number in ("max_connections=32", "ef_construction=400", "ef_search=100"):
        assert number in printed


@pytest.mark.parametrize("name", NAMES)
def test_errors_block(name: str, directory: Path) -> None:
    text = imported_as(block(COMPLETE["errors"]), name)
    assert run_alone(text, directory).startswith("Dimension error: ")


@pytest.fixture(scope="module")
def fragments_directory() -> Iterator[Path]:
    path = make_open_directory()
    keeper = pychassis.VectorIndex(path / "keeper.chassis", dimensions=1)
    yield path
    keeper.close()
    wait_for_no_server(path)
    shutil.rmtree(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_fragment(
    fragment: str,
    name: str,
    fragments_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, preamble = FRAGMENTS[fragment]
    text = block(line)
    monkeypatch.chdir(fragments_directory)
    for file in fragments_directory.glob("*.chassis"):
        if file.is_file() and file.name != "keeper.chassis":
            file.unlink()
    space: dict[str, Any] = {}
    execute(imported_as(preamble + text, name), space)
    check_fragment(fragment, space)
    if "index" in space:
        space["index"].close()


def check_fragment(fragment: str, space: dict[str, Any]) -> None:
    """What must be true after the block has run."""
    index = space.get("index")
    if fragment in ("context manager", "batch"):
        assert index is not None
        with pytest.raises(pychassis.ChassisError, match="Index is closed"):
            len(index)
        with pychassis.VectorIndex.open(index.path) as again:
            assert len(again) == (10_000 if fragment == "batch" else 1)
    elif fragment == "numpy":
        assert index is not None
        assert len(index) == 3
        wanted = np.array([0.1, 0.2, 0.3], dtype=np.float32)
        assert all(np.array_equal(index.get(i), wanted) for i in range(3))
    elif fragment == "safe":
        assert [r.id for r in space["results"]] == [0]
    elif fragment == "recommended":
        results = list(space["results"])
        assert [r[0].id for r in results] == list(range(20))
        assert all(len(r) == 10 for r in results)
    elif fragment == "tip 1":
        assert index is not None
        assert len(index) == 20
    else:
        assert fragment == "tip 2"


# --- signatures -----------------------------------------------------------------------


@pytest.mark.parametrize("name", DATACLASSES)
def test_dataclass(name: str) -> None:
    space: dict[str, Any] = {"dataclass": dataclasses.dataclass}
    execute(block(DATACLASSES[name]), space)
    documented = dataclasses.fields(space[name])
    ours = dataclasses.fields(getattr(pychassis, name))
    hints = typing.get_type_hints(getattr(pychassis, name))
    for theirs, mine in zip(documented, ours):
        assert (theirs.name, theirs.default) == (mine.name, mine.default)
        assert hints[mine.name] is theirs.type
    for extra in ours[len(documented) :]:
        # whatever was added has a default, so that the documented call works
        assert extra.default is not dataclasses.MISSING or (
            extra.default_factory is not dataclasses.MISSING
        )


def parse_signature(text: str) -> ast.FunctionDef:
    [function] = ast.parse(f"def {text}: ...").body
    assert isinstance(function, ast.FunctionDef)
    return function


def check_signature(function: ast.FunctionDef, ours: Any) -> None:
    """Our parameters begin with the documented ones; the rest is optional."""
    signature = inspect.signature(ours)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    documented = function.args.args
    padding: list[ast.expr | None] = [None] * (
        len(documented) - len(function.args.defaults)
    )
    for argument, default, mine in zip(
        documented, padding + list(function.args.defaults), parameters, strict=False
    ):
        assert mine.name == argument.arg
        assert mine.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if default is None:
            assert mine.default is inspect.Parameter.empty
        else:
            assert mine.default == ast.literal_eval(default)
    for mine in parameters[len(documented) :]:
        assert mine.default is not inspect.Parameter.empty


def test_constructor() -> None:
    text = block(INVALID["constructor"]).strip().replace("VectorIndex(", "f(")
    check_signature(parse_signature(text), pychassis.VectorIndex.__init__)


METHOD = re.compile(r"^- \*\*`(\w+)(\(.*?\)) -> (.*?)`\*\*", re.MULTILINE)
PROPERTY = re.compile(r"^- \*\*`(\w+): (\w+)`\*\* - ", re.MULTILINE)
EXCEPTION = re.compile(r"^- \*\*`(\w+Error)`\*\* - ", re.MULTILINE)

RETURNS = {
    "int": int,
    "bool": bool,
    "None": type(None),
    "List[SearchResult]": list[pychassis.SearchResult],
}


def test_methods() -> None:
    found = METHOD.findall(SEED)
    names = {name for name, _, _ in found}
    assert names == {"add", "search", "flush", "close", "__len__", "is_empty"}
    for name, arguments, returned in found:
        method = getattr(pychassis.VectorIndex, name)
        check_signature(parse_signature(name + arguments), method)
        space = {**vars(pychassis.index), "np": np}
        hints = typing.get_type_hints(method, space)
        assert hints["return"] == RETURNS[returned], name


def test_properties() -> None:
    found = dict(PROPERTY.findall(SEED))
    assert found == {"dimensions": "int", "path": "Path", "options": "IndexOptions"}
    for name, kind in found.items():
        prop = inspect.getattr_static(pychassis.VectorIndex, name)
        assert isinstance(prop, property)
        space = {**vars(pychassis.index), "Path": Path}
        assert typing.get_type_hints(prop.fget, space)["return"].__name__ == kind


def test_exceptions() -> None:
    found = EXCEPTION.findall(SEED)
    assert len(found) == 5
    for name in found:
        assert issubclass(getattr(pychassis, name), pychassis.ChassisError)


def test_examples_and_the_test_that_the_text_names() -> None:
    for name in re.findall(r"^- `(\w+\.py)` - ", SEED, re.MULTILINE):
        assert (CHECKOUT / "python" / "examples" / name).exists()
    named = re.search(r"pytest (tests/test_index\.py)::(\w+)", SEED)
    assert named is not None
    tests = ast.parse((CHECKOUT / "python" / named[1]).read_text())
    assert named[2] in [n.name for n in tests.body if isinstance(n, ast.FunctionDef)]


# --- shell ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A copy of the checkout in which ``make python`` has run."""
    path = make_open_directory()
    copy = path / "chassis"
    left_out = (".git", ".venv", "__pycache__", "*.egg-info", ".demo", "tmp_check")
    shutil.copytree(
        CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns(*left_out)
    )
    run_shell(copy, replace_rust(block(SHELL["build"])))
    yield copy
    wait_for_no_server(path)
    shutil.rmtree(path)


def replace_rust(text: str) -> str:
    """The Rust build becomes ours; its directory is the top of the checkout."""
    assert text.split("\n")[:2] == ["cd ../chassis-ffi", "cargo build --release"]
    return "make python\n"


def run_shell(directory: Path, text: str, **environment: str) -> str:
    """Runs a block as a user's shell would, with the environment activated."""
    outer = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("COV", "PYTEST", "PYTHON", "MAKE", "VIRTUAL"))
    }
    bin_directory = directory
    while not (bin_directory / "Makefile").exists():
        bin_directory = bin_directory.parent
    outer["PATH"] = f"{bin_directory / '.venv' / 'bin'}:{outer['PATH']}"
    result = subprocess.run(
        ["bash", "-e", "-c", text],
        cwd=directory,
        env={**outer, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        timeout=servers.PATIENCE * 3,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


# A block that says "pytest" would run this very test again: one test stands
# for all of them.
ONE_TEST = {"PYTEST_ADDOPTS": "-k test_add_and_search -p no:cacheprovider"}


def test_shell_install(checkout: Path) -> None:
    text = block(SHELL["install"])
    assert text == "cd ../pychassis\npip install -e .\n"
    run_shell(checkout / "python", text.replace("cd ../pychassis\n", ""))
    run_shell(checkout / "python", "python -c 'import chassis, pychassis'")


def test_shell_development(checkout: Path) -> None:
    printed = run_shell(checkout / "python", block(SHELL["development"]), **ONE_TEST)
    assert "1 passed" in printed
    assert "Success: no issues found" in printed
    assert "All checks passed!" in printed


def test_shell_location(checkout: Path, directory: Path) -> None:
    library = next(checkout.glob("build/extension/*/chassis.so"))
    text = block(SHELL["location"]).replace("/path/to/lib", str(library.parent))
    (directory / "your_script.py").write_text(
        imported_as(block(COMPLETE["quick start"]), "chassis")
    )
    python = checkout / ".venv" / "bin"
    printed = run_shell(checkout, f"cd {directory}\nPATH={python}:$PATH\n{text}")
    assert "Total vectors: 1000" in printed


def test_shell_testing(checkout: Path) -> None:
    printed = run_shell(checkout / "python", block(SHELL["testing"]), **ONE_TEST)
    assert printed.count("1 passed") == 3
    assert (checkout / "python" / "htmlcov" / "index.html").exists()
