"""HNSW libraries in the client's own process: hnswlib, faiss, usearch.

Why separate: three interfaces behind one.  It knows nothing of the server.
They show what the algorithm costs without a database around it.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data import Dataset, Matrix
from .postgres import EF_CONSTRUCTION, M


class Library(Protocol):
    """An index in this process."""

    name: str

    def build(self, dataset: Dataset, threads: int) -> None:
        """Adds every row of the data set."""

    def save(self, path: Path) -> None:
        """Writes the index to a file."""

    def load(self, dataset: Dataset, path: Path) -> None:
        """Reads it back, to be searched with one thread."""

    def set_ef(self, ef: int) -> None:
        """The number of candidates that a search keeps."""

    def search(self, query: Matrix, k: int) -> Any:
        """Ids of the ``k`` nearest rows found; this call is what is timed."""


class Hnswlib:
    """hnswlib (Malkov and Yashunin 2016), as its package is compiled."""

    name = "hnswlib"

    def _new(self, dataset: Dataset) -> Any:
        import hnswlib

        space = "l2" if dataset.metric == "l2" else "cosine"
        return hnswlib.Index(space=space, dim=dataset.dimensions)

    def build(self, dataset: Dataset, threads: int) -> None:
        """Adds every row."""
        self._index = self._new(dataset)
        self._index.init_index(
            dataset.rows, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1
        )
        self._index.add_items(np.asarray(dataset.base), num_threads=threads)

    def save(self, path: Path) -> None:
        """Writes the index."""
        self._index.save_index(str(path))

    def load(self, dataset: Dataset, path: Path) -> None:
        """Reads the index."""
        self._index = self._new(dataset)
        self._index.load_index(str(path), max_elements=dataset.rows)
        self._index.set_num_threads(1)

    def set_ef(self, ef: int) -> None:
        """Candidates of a search."""
        self._index.set_ef(ef)

    def search(self, query: Matrix, k: int) -> Any:
        """Ids found."""
        return self._index.knn_query(query, k)[0][0]


class Faiss:
    """faiss IndexHNSWFlat (Douze et al. 2024)."""

    name = "faiss"

    def build(self, dataset: Dataset, threads: int) -> None:
        """Adds every row; normalised under cosine, which is then L2."""
        import faiss

        faiss.omp_set_num_threads(threads)
        self._index: Any = faiss.IndexHNSWFlat(dataset.dimensions, M)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        rows = np.array(dataset.base)
        if dataset.metric == "cosine":
            faiss.normalize_L2(rows)
        self._index.add(rows)

    def save(self, path: Path) -> None:
        """Writes the index."""
        import faiss

        faiss.write_index(self._index, str(path))

    def load(self, dataset: Dataset, path: Path) -> None:
        """Reads the index."""
        import faiss

        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(path))
        self._unit = dataset.metric == "cosine"

    def set_ef(self, ef: int) -> None:
        """Candidates of a search."""
        self._index.hnsw.efSearch = ef

    def search(self, query: Matrix, k: int) -> Any:
        """Ids found."""
        if self._unit:
            query = query / np.sqrt(query @ query)
        return self._index.search(query[None, :], k)[1][0]


class Usearch:
    """usearch (single precision, as the others)."""

    name = "usearch"

    def _new(self, dataset: Dataset) -> Any:
        from usearch.index import Index

        return Index(
            ndim=dataset.dimensions,
            metric="l2sq" if dataset.metric == "l2" else "cos",
            dtype="f32",
            connectivity=M,
            expansion_add=EF_CONSTRUCTION,
        )

    def build(self, dataset: Dataset, threads: int) -> None:
        """Adds every row."""
        self._index = self._new(dataset)
        self._index.add(
            np.arange(dataset.rows), np.asarray(dataset.base), threads=threads
        )

    def save(self, path: Path) -> None:
        """Writes the index."""
        self._index.save(str(path))

    def load(self, dataset: Dataset, path: Path) -> None:
        """Reads the index."""
        self._index = self._new(dataset)
        self._index.load(str(path))

    def set_ef(self, ef: int) -> None:
        """Candidates of a search."""
        self._index.expansion_search = ef

    def search(self, query: Matrix, k: int) -> Any:
        """Ids found."""
        return self._index.search(query, k, threads=1).keys


LIBRARIES: dict[str, type[Hnswlib | Faiss | Usearch]] = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "usearch": Usearch,
}


def _file(name: str, dataset: Dataset, cache: Path) -> Path:
    """Where the library's index is kept; named after all that decides its shape."""
    folder = cache / "libraries"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-m{M}-ef{EF_CONSTRUCTION}-{dataset.key}"


def ready(name: str, dataset: Dataset, cache: Path, threads: int = 2) -> Library:
    """The library with its index of the data set, built if it was not.

    What the build took is kept beside the index (``build_seconds``).
    """
    path = _file(name, dataset, cache)
    library: Library = LIBRARIES[name]()
    if not path.with_suffix(".seconds").exists():
        start = time.process_time()
        library.build(dataset, threads)
        seconds = time.process_time() - start
        library.save(path)
        path.with_suffix(".seconds").write_text(f"{seconds:.3f}\n")
        library = LIBRARIES[name]()
    library.load(dataset, path)
    return library


def build_seconds(name: str, dataset: Dataset, cache: Path) -> float:
    """Processor seconds, of both threads, that building the kept index took.

    Not the time on a clock: the index is kept for later runs, and what else
    the machine did on that day must not stay with it.
    """
    path = _file(name, dataset, cache).with_suffix(".seconds")
    return float(path.read_text())
