"""Both packages import, and their version is the extension's and pip's.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

import importlib.metadata
import re
from pathlib import Path

import chassis
import pychassis


def test_both_packages_are_one_version() -> None:
    assert chassis.__version__ == pychassis.__version__
    assert importlib.metadata.version("pgchassis") == pychassis.__version__


def test_version_is_that_of_the_extension() -> None:
    control = Path(__file__).parents[2] / "chassis.control"
    match = re.search(r"default_version\s*=\s*'([^']+)'", control.read_text())
    assert match is not None
    assert match.group(1) == pychassis.__version__


def test_both_packages_are_typed() -> None:
    for package in (chassis, pychassis):
        assert package.__file__ is not None
        assert (Path(package.__file__).parent / "py.typed").exists()
