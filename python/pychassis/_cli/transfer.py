"""``export`` and ``import``: whole indexes into files and back.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import _archive
from .._formats import FORMATS
from ..index import VectorIndex
from ..options import METRICS, IndexOptions
from .common import (
    OK,
    Output,
    Parsers,
    add_command,
    add_connection,
    index_keywords,
    progress_wanted,
)


def add_parsers(commands: Parsers) -> None:
    out = add_command(
        commands,
        "export",
        "write an index to one file",
        "Writes everything an index has, as it is at this moment, to one file: the "
        "way to back up, to move, and to change PostgreSQL's major version. The file "
        "is a zip that numpy.load reads.",
    )
    out.add_argument("place", help="the index")
    out.add_argument("file", help="the file to write; replaced if it exists")
    out.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    add_connection(out)
    out.set_defaults(run=run_export)

    into = add_command(
        commands,
        "import",
        "make an index from a file",
        "Makes an index from a file that export wrote, or from .npy, .npz, .fvecs, "
        ".bvecs, .fbin, .jsonl and the original engine's .chassis files. The file is "
        "checked from end to end before anything is stored.",
    )
    into.add_argument("file", help="the file to read")
    into.add_argument("place", help="the index to make")
    into.add_argument(
        "--format", choices=["archive", *FORMATS], help="if the name does not tell"
    )
    into.add_argument("--append", action="store_true", help="into an index that exists")
    into.add_argument(
        "--new-ids", action="store_true", help="do not keep the ids of the file"
    )
    into.add_argument("--check", action="store_true", help="only check the file")
    into.add_argument("--metric", choices=METRICS, help="distance (default: l2)")
    into.add_argument("--max-connections", type=int, metavar="N")
    into.add_argument("--ef-construction", type=int, metavar="N")
    into.add_argument("--ef-search", type=int, metavar="N")
    into.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    add_connection(into)
    into.set_defaults(run=run_import)


def run_export(arguments: argparse.Namespace, output: Output) -> int:
    keywords = index_keywords(arguments)
    with VectorIndex.open(arguments.place, read_only=True, **keywords) as index:
        progress = progress_wanted(arguments)
        _archive.export_index(index, arguments.file, progress=progress)
    source = _archive.open_file(arguments.file)
    values = {
        "file": str(arguments.file),
        "count": source.count,
        "dimensions": source.dimensions,
        "bytes": Path(arguments.file).stat().st_size,
    }
    output.answer(values, f"{source.count} vectors written to {arguments.file}")
    return OK


def run_import(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.check:
        source = _archive.open_file(arguments.file, arguments.format)
        count = source.check()
        checked = {
            "file": str(arguments.file),
            "count": count,
            "dimensions": source.dimensions,
        }
        text = f"{arguments.file} is sound: {count} x {source.dimensions}"
        output.answer(checked, text)
        return OK
    index = _archive.import_index(
        arguments.file,
        arguments.place,
        format=arguments.format,
        append=arguments.append,
        new_ids=arguments.new_ids,
        options=_options(arguments),
        progress=progress_wanted(arguments),
        **index_keywords(arguments),
    )
    with index:
        values = {
            "index": str(arguments.place),
            "count": len(index),
            "dimensions": index.dimensions,
            "metric": index.metric,
        }
    output.answer(values, f"{values['count']} vectors are in {arguments.place}")
    return OK


def _options(arguments: argparse.Namespace) -> IndexOptions | None:
    """The parameters given, over those of the file."""
    given = {
        name: getattr(arguments, name)
        for name in ("max_connections", "ef_construction", "ef_search", "metric")
        if getattr(arguments, name) is not None
    }
    if not given:
        return None
    source = _archive.open_file(arguments.file, arguments.format)
    stored = _archive.archived_options(source) or IndexOptions()
    for name, value in given.items():
        setattr(stored, name, value)
    return stored
