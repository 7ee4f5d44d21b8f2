"""Moves a whole index into a file and back.

Separate because it joins the two that must not know each other: the file formats
and ``VectorIndex``.  An export is one snapshot of the server, whatever is written
meanwhile.  An import checks the file from end to end before it stores anything,
and takes back what it created if the server fails half-way.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ._container import (
    ArchiveSource,
    RawBlock,
    is_archive,
    replace_file,
    write_archive,
)
from ._formats import BLOCK_ROWS, ORIGINAL_MAGIC, Source, open_source
from ._marker import inspect
from ._progress import reporter
from .exceptions import (
    ChassisError,
    DimensionMismatchError,
    FileFormatError,
    IndexNotFoundError,
    InvalidPathError,
    StorageFullError,
)
from .index import VectorIndex
from .options import IndexOptions, PathLike, Progress

__all__ = ["export_index", "import_index", "open_file"]

_log = logging.getLogger(__name__)


# ------------------------------------------------------------------------ export


def export_index(
    index: VectorIndex, file: PathLike, *, progress: Progress = False
) -> None:
    """Write ``index``, as one snapshot, to the archive ``file``.

    A file that is there is replaced at the end, in one step; an index or a file
    of the original engine is not.  Takes constant memory, and about the space of
    ids and metadata in temporary files beside ``file``.
    """
    target = Path(os.path.realpath(os.fspath(file)))
    with _explained(f"write the archive {file}"):
        _refuse_precious(target)
        if not index.read_only:
            # Gives back the ids reserved for a writer, so that next_id is exact.
            index._need_writer().flush()
        with index._snapshot(BLOCK_ROWS) as snapshot, replace_file(target) as stream:
            parameters = {
                "metric": index.metric,
                "options": dataclasses.asdict(index.options),
                "next_id": snapshot.next_id,
            }
            write_archive(
                stream,
                _counted(snapshot, snapshot.count, progress),
                (snapshot.count, index.dimensions),
                parameters,
                target.parent,
            )
            count = snapshot.count
    _log.info("exported %d vectors to %s", count, target)


def _refuse_precious(target: Path) -> None:
    """Refuse to replace an index's marker, or vectors of the original engine."""
    if target.is_dir():
        raise InvalidPathError(
            f"cannot write an archive to {target}: it is a directory"
        )
    if not target.exists():
        return
    with target.open("rb") as stream:
        original = stream.read(len(ORIGINAL_MAGIC)) == ORIGINAL_MAGIC
    marked = False
    with contextlib.suppress(InvalidPathError):
        marked = inspect(target) is not None
    if original or marked:
        raise InvalidPathError(
            f"cannot write an archive to {target}: an index lives there. "
            "Choose another name"
        )


def _counted(
    blocks: Iterable[RawBlock], total: int, progress: Progress
) -> Iterator[RawBlock]:
    """Pass blocks on and report their rows."""
    with reporter(progress, total, "vectors") as report:
        done = 0
        for block in blocks:
            yield block
            done += len(block[0])
            report(done)


# ------------------------------------------------------------------------ import


def open_file(file: PathLike, format: str | None = None) -> Source:
    """Open an archive or any other file of vectors.

    Raises FileFormatError for what is damaged or unknown, InvalidPathError for
    what cannot be read.
    """
    path = Path(os.fspath(file))
    with _explained(f"read the file {path}"):
        if format in (None, "archive") and (format or is_archive(path)):
            return ArchiveSource(path)
        return open_source(path, format)


def import_index(
    file: PathLike,
    path: PathLike,
    *,
    format: str | None = None,
    append: bool = False,
    new_ids: bool = False,
    options: IndexOptions | None = None,
    progress: Progress = False,
    **keywords: Any,
) -> VectorIndex:
    """Create the index ``path`` from ``file`` and return it, flushed.

    ``file`` is an archive or any format of ``_formats``; ``format`` overrules what
    it looks like.  With ``append`` the rows go into an index that exists.  Ids are
    kept where the file has them, unless ``new_ids`` is set.  ``options`` replaces
    the archived ones; ``keywords`` are those of ``VectorIndex``.  The file is read
    twice: first to check it, so that a damaged one changes nothing.
    """
    source = open_file(file, format)
    with _explained(f"read the file {file}"):
        total = source.check()
    if append:
        index = VectorIndex.open(path, options=options, **keywords)
        _check_dimensions(index, source)
    else:
        _refuse_existing(path, keywords)
        options = options or archived_options(source)
        index = VectorIndex(path, source.dimensions, options, **keywords)
    try:
        with reporter(progress, total, "vectors") as report:
            for done in _fill(index, source, new_ids):
                report(done)
        index.flush()
    except BaseException:
        _take_back(index, created=not append)
        raise
    return index


def _check_dimensions(index: VectorIndex, source: Source) -> None:
    """Refuse to append vectors of other dimensions."""
    if index.dimensions != source.dimensions:
        expected = index.dimensions
        index.close()
        raise DimensionMismatchError(
            f"expected {expected} dimensions, which the index has: file {source.path} "
            f"has vectors of {source.dimensions} dimensions"
        )


def _refuse_existing(path: PathLike, keywords: dict[str, Any]) -> None:
    try:
        VectorIndex.open(path, **{**keywords, "read_only": True}).close()
    except IndexNotFoundError:
        return
    raise ChassisError(
        f"index {os.fspath(path)} exists: import under another name, "
        "or with append=True into it"
    )


def archived_options(source: Source) -> IndexOptions | None:
    """Return the options an archive was written with, as far as they are known."""
    if not isinstance(source, ArchiveSource):
        return None
    stored = source.index.get("options")
    known = {field.name for field in dataclasses.fields(IndexOptions)}
    values = dict(stored) if isinstance(stored, dict) else {}
    options = IndexOptions(**{k: v for k, v in values.items() if k in known})
    try:
        options.validate()
    except (TypeError, ValueError) as error:
        raise FileFormatError(
            f"archive {source.path} has options that are not valid: {error}"
        ) from error
    return options


def _fill(index: VectorIndex, source: Source, new_ids: bool) -> Iterator[int]:
    """Store the file's rows; yield how many are stored."""
    done = 0
    if isinstance(source, ArchiveSource):
        # Past add_batch, which takes metadata as Python values: numbers that a
        # float cannot hold survive only as the text that jsonb wrote.
        writer = index._need_writer()
        for ids, vectors, texts in source.raw_blocks():
            documents = [None if text is None else text.encode() for text in texts]
            some = any(document is not None for document in documents)
            writer.add_batch(
                vectors.astype("=f4", copy=False),
                None if new_ids else ids,
                documents if some else None,
                BLOCK_ROWS,
                False,
            )
            done += len(ids)
            yield done
        next_id = source.index.get("next_id")
        if isinstance(next_id, int) and not new_ids:
            index._advance_next_id(next_id)
        return
    for block in source.blocks():
        index.add_batch(
            block.vectors,
            ids=None if new_ids else block.ids,
            metadata=block.metadata,
        )
        done += len(block.vectors)
        yield done


def _take_back(index: VectorIndex, *, created: bool) -> None:
    """After a failure, drop what was created, or let go of what existed."""
    try:
        if created:
            index.drop()
        else:
            index.close()
    except ChassisError:
        _log.warning("could not undo the import into %s", index.path, exc_info=True)


# ------------------------------------------------------------------------ common


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn the system's errors about files into this package's."""
    try:
        yield
    except OSError as error:
        kind: type[ChassisError] = InvalidPathError
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            kind = StorageFullError
        raise kind(f"could not {doing}: {error.strerror or error}") from error
