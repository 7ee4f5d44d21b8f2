"""Data sets: rows, queries and the exact neighbours of every query.

Why separate: every measure takes a ``Dataset`` and nothing else about data.
It knows nothing of databases; where vectors come from is said here and in
corpus.py and embed.py, and nowhere else.

All are made from packages that anyone can install, on this machine, once; the
arrays are kept below the cache as ``.npy`` and mapped into memory.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import corpus, embed

Matrix = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Metric = Literal["l2", "cosine"]

QUERIES = 1000
DEPTH = 100
"""Exact neighbours kept for each query."""

ROWS = {
    "fashion-mnist": 60_000,
    "text256": 200_000,
    "text384": 200_000,
    "text768": 100_000,
    "mixed256": 800_000,
    "folded4096": 20_000,
    "near-duplicates": 50_000,
}
"""Rows of each set when all are used."""


@dataclass(frozen=True)
class Dataset:
    """Vectors to store, vectors to look for, and what should be found.

    ``distances`` are those of ``neighbours``, ascending, in the unit of
    ``metric``: squared L2, or 1 - cosine.
    """

    name: str
    title: str
    metric: Metric
    base: Matrix
    queries: Matrix
    neighbours: Ids
    distances: Matrix

    @property
    def rows(self) -> int:
        """Number of vectors to store."""
        return len(self.base)

    @property
    def dimensions(self) -> int:
        """Elements of each vector."""
        return int(self.base.shape[1])

    @property
    def key(self) -> str:
        """A name that is a valid table name and names the number of rows."""
        return f"{self.name.replace('-', '_')}_{self.rows}"

    def recall(self, answers: Sequence[Sequence[int]], k: int) -> float:
        """The share of the ``k`` exact neighbours that the answers hold.

        Answer ``i`` belongs to query ``i``; fewer answers than queries are
        judged by those there are.  A row counts as right when it is no
        farther than the k-th exact neighbour: equal distances are no misses.
        """
        right = 0
        for i, found in enumerate(answers):
            ids = np.unique(np.asarray(list(found)[:k], dtype=np.int64))
            if len(ids) == 0:
                continue
            distances = exact_distances(self.queries[i], self.base[ids], self.metric)
            limit = float(self.distances[i, k - 1])
            right += int(np.sum(distances <= limit + 1e-5 * max(abs(limit), 1e-3)))
        return right / (k * len(answers))


def exact_distances(query: Matrix, rows: Matrix, metric: Metric) -> Matrix:
    """Squared L2 or 1 - cosine of one query to each row, in double."""
    q = query.astype(np.float64)
    r = rows.astype(np.float64)
    if metric == "l2":
        return ((r - q) ** 2).sum(axis=1)  # type: ignore[no-any-return]
    return 1 - (r @ q) / (  # type: ignore[no-any-return]
        np.linalg.norm(r, axis=1) * np.linalg.norm(q)
    )


def exact_neighbours(
    base: Matrix, queries: Matrix, metric: Metric, depth: int = DEPTH
) -> tuple[Ids, Matrix]:
    """The ``depth`` nearest rows of each query, and their distances.

    Candidates by single-precision products of blocks of rows, twice as many
    as needed; then ordered by the exact distances.
    """
    keep = min(2 * depth, len(base))
    scores = np.empty((len(queries), 0), np.float32)
    ids = np.empty((len(queries), 0), np.int64)
    wanted = queries
    if metric == "cosine":
        wanted = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    for start in range(0, len(base), 20_000):
        block = np.asarray(base[start : start + 20_000])
        if metric == "cosine":
            block = block / np.linalg.norm(block, axis=1, keepdims=True)
            new = -(wanted @ block.T)
        else:
            new = (block**2).sum(axis=1)[None, :] - 2 * (wanted @ block.T)
        scores = np.concatenate([scores, new], axis=1)
        numbers = np.arange(start, start + len(block))
        ids = np.concatenate(
            [ids, np.broadcast_to(numbers, (len(queries), len(block)))], axis=1
        )
        if scores.shape[1] > keep:
            best = np.argpartition(scores, keep - 1, axis=1)[:, :keep]
            scores = np.take_along_axis(scores, best, axis=1)
            ids = np.take_along_axis(ids, best, axis=1)
    depth = min(depth, len(base))
    neighbours = np.empty((len(queries), depth), np.int32)
    distances = np.empty((len(queries), depth), np.float32)
    for i, candidates in enumerate(ids):
        d = exact_distances(queries[i], base[candidates], metric)
        order = np.argsort(d, kind="stable")[:depth]
        neighbours[i] = candidates[order]
        distances[i] = d[order]
    return neighbours, distances


# --- where the vectors come from -----------------------------------------

Vectors = tuple[Matrix, Matrix]


def _idx(path: Path) -> Matrix:
    """Images of an idx file (16 bytes of header) as rows."""
    with gzip.open(path) as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16)
    return raw.reshape(-1, 784).astype(np.float32)


def _fashion(cache: Path) -> Vectors:
    root = corpus.unpack("dataset-fashion-mnist", cache)
    folder = root / "usr/share/datasets/fashion-mnist"
    return (
        _idx(folder / "train-images-idx3-ubyte.gz"),
        _idx(folder / "t10k-images-idx3-ubyte.gz")[:QUERIES],
    )


def _siftsmall(cache: Path) -> Vectors:
    """The 10,000 vectors that many projects test with, if they are at hand.

    No package has them: SIFTSMALL names the directory of the .fvecs files.
    """
    folder = Path(os.environ["SIFTSMALL"])
    base, queries = (
        np.fromfile(folder / f"siftsmall_{part}.fvecs", "<i4")
        .reshape(-1, 129)[:, 1:]
        .view(np.float32)
        for part in ("base", "query")
    )
    return base, queries


def _query_texts(cache: Path) -> list[str]:
    return corpus.sentences((corpus.QUERY_PACKAGE,), cache)[:QUERIES]


def _text(
    model: str, name: str, label: str, packages: tuple[str, ...], cache: Path
) -> Vectors:
    """Sentences of packages by a model; queries from the query package."""
    texts = corpus.sentences(packages, cache)
    if model == embed.MiniLM384.name:
        # A network's time is proportional to the text: the shorter two thirds.
        texts = [text for text in texts if len(text) <= 110]
    return (
        embed.embed(model, label, texts[: ROWS[name]], cache),
        embed.embed(model, "foldoc", _query_texts(cache), cache),
    )


def _lsa(cache: Path) -> Vectors:
    """Latent semantic analysis (Deerwester et al. 1990), 768 components."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = corpus.sentences(corpus.DICTIONARIES, cache)[: ROWS["text768"]]
    weights = TfidfVectorizer(
        sublinear_tf=True, min_df=3, max_df=0.1, max_features=40_000, dtype=np.float32
    )
    terms = weights.fit_transform(texts)
    lsa = TruncatedSVD(768, n_iter=2, random_state=1)
    base = lsa.fit_transform(terms).astype(np.float32)
    queries = lsa.transform(weights.transform(_query_texts(cache))).astype(np.float32)
    return _unit(base), _unit(queries)


def _folded(cache: Path) -> Vectors:
    """Sixteen windows of four words of each text, embedded, side by side.

    Real vectors of 4,096 dimensions, of which the first d columns are real
    vectors of d dimensions.
    """
    model = embed.Static256(cache)
    texts = corpus.sentences(corpus.DICTIONARIES, cache)

    def fold(kept: list[str]) -> Matrix:
        words = [text.split() for text in kept]
        parts = [
            model.encode([" ".join(w[i * len(w) // 16 :][:4]) for w in words])
            for i in range(16)
        ]
        return np.concatenate(parts, axis=1)

    long = [t for t in texts if len(t.split()) >= 24][: ROWS["folded4096"]]
    asked = corpus.sentences((corpus.QUERY_PACKAGE,), cache)
    return fold(long), fold([t for t in asked if len(t.split()) >= 24][:QUERIES])


def _duplicates(cache: Path) -> Vectors:
    """Ten copies of each of 5,000 text vectors, each 1 % off its original."""
    text = load("text256", cache)
    random = np.random.default_rng(1)
    originals = np.repeat(np.asarray(text.base[: ROWS["near-duplicates"] // 10]), 10, 0)
    noise = random.standard_normal(originals.shape).astype(np.float32)
    noise *= 0.01 / np.sqrt(originals.shape[1])
    return originals + noise, np.asarray(text.queries)


def _unit(rows: Matrix) -> Matrix:
    """Rows of length 1; a row of zeros becomes the first axis."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.where(norms > 0, rows / np.maximum(norms, 1e-30), 0).astype(np.float32)
    rows[norms[:, 0] == 0, 0] = 1
    return rows


@dataclass(frozen=True)
class _Source:
    title: str
    metric: Metric
    make: Callable[[Path], Vectors]


_EVERYTHING = corpus.DICTIONARIES + corpus.MANUALS

SOURCES = {
    "fashion-mnist": _Source("images of clothes, 784 d, L2", "l2", _fashion),
    "text256": _Source(
        "dictionary definitions, static embeddings, 256 d, cosine",
        "cosine",
        lambda c: _text("static256", "text256", "dictionaries", corpus.DICTIONARIES, c),
    ),
    "text384": _Source(
        "dictionary definitions, MiniLM embeddings, 384 d, cosine",
        "cosine",
        lambda c: _text("minilm384", "text384", "short", corpus.DICTIONARIES, c),
    ),
    "text768": _Source(
        "dictionary definitions, latent semantic analysis, 768 d, cosine",
        "cosine",
        _lsa,
    ),
    "mixed256": _Source(
        "definitions and manuals, static embeddings, 256 d, cosine",
        "cosine",
        lambda c: _text("static256", "mixed256", "mixed", _EVERYTHING, c),
    ),
    "folded4096": _Source(
        "definitions in pieces, static embeddings side by side, cosine",
        "cosine",
        _folded,
    ),
    "siftsmall": _Source("image features, 128 d, L2", "l2", _siftsmall),
    "near-duplicates": _Source(
        "ten near copies of each text, 256 d, cosine", "cosine", _duplicates
    ),
}


def _kept(path: Path, make: Callable[[], Sequence[Matrix | Ids]]) -> list[Matrix]:
    """Arrays kept as ``path-0.npy`` and so on, made when missing, mapped."""
    done = path.with_suffix(".done")
    if not done.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for i, array in enumerate(make()):
            np.save(f"{path}-{i}.npy", array)
        done.touch()
    found = sorted(path.parent.glob(f"{path.name}-[0-9].npy"))
    return [np.load(p, mmap_mode="r") for p in found]


def load(
    name: str, cache: Path, rows: int | None = None, dimensions: int | None = None
) -> Dataset:
    """A data set, made if it was not; its first rows and columns if asked.

    Raises KeyError for a name that is not in ``SOURCES``.
    """
    source = SOURCES[name]
    folder = cache / "sets"
    base, queries = _kept(folder / name, lambda: source.make(cache))
    rows = min(rows or len(base), len(base))
    base = base[:rows]
    label = f"{name}-{rows}"
    title = source.title
    if dimensions is not None and dimensions < base.shape[1]:
        base = np.ascontiguousarray(base[:, :dimensions])
        queries = np.ascontiguousarray(queries[:, :dimensions])
        label += f"x{dimensions}"
        name += f"x{dimensions}"
    ids, distances = _kept(
        folder / f"{label}-exact",
        lambda: exact_neighbours(base, queries, source.metric),
    )
    return Dataset(
        name=name,
        title=title,
        metric=source.metric,
        base=base,
        queries=np.asarray(queries),
        neighbours=ids.astype(np.int32),
        distances=distances,
    )
