"""English sentences from Debian packages: the text that the data sets embed.

Why separate: text needs only the standard library and the packages' files.
It knows nothing of vectors; embed.py turns what it returns into numbers.

Every package is fetched with ``apt-get download`` and unpacked with
``dpkg-deb -x`` below the cache: nothing is installed, no root is needed, and
anyone with Debian 12's archive gets the same sentences in the same order.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import gzip
import html
import random
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Shorter pieces are titles and cross-references; longer ones are tables that
# lost their markup.  The upper bound also keeps every model below 128 tokens.
MIN_CHARS = 40
MAX_CHARS = 320

DICTIONARIES = ("wordnet-base", "dict-gcide")
"""General English: the rows of every text set begin with these."""

MANUALS = (
    "linux-doc-6.1",
    "openjdk-17-doc",
    "python3.11-doc",
    "sqlite3-doc",
    "postgresql-doc-15",
    "perl-doc",
    "git-doc",
)
"""Technical English: mixed in where the dictionaries alone are too few."""

QUERY_PACKAGE = "dict-foldoc"
"""A dictionary of computing: queries, never rows, so they are of another
distribution than most rows, as users' questions are."""

_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"'])")
_MARKUP_BLOCK = re.compile(
    r"<(script|style|pre|table|nav|head)\b.*?</\1>", re.DOTALL | re.IGNORECASE
)
_BLOCK_TAG = re.compile(
    r"</?(p|li|dd|dt|div|h\d|td|tr|br|ul|ol|dl|section|body)\b[^>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^>]+>")
_POD_FORMAT = re.compile(r"[A-Z]<+\s*([^<>|]*?)(?:\|[^<>]*)?\s*>+")


def unpack(package: str, cache: Path) -> Path:
    """Downloads and unpacks one Debian package, once.

    Returns the directory that holds its tree.  Raises CalledProcessError when
    the archive does not have it.
    """
    root = cache / "packages" / package
    if root.is_dir():
        return root
    downloads = cache / "packages" / "archives"
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["apt-get", "-q", "download", package],
        cwd=downloads,
        check=True,
        capture_output=True,
    )
    archive = max(downloads.glob(f"{package}_*.deb"), key=lambda p: p.stat().st_mtime)
    partial = root.with_name(root.name + ".partial")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    partial.rename(root)
    return root


def _read(path: Path) -> str:
    """A file's text, decompressed if its name or magic says so."""
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    return raw.decode("utf-8", errors="replace")


def _sentences(paragraphs: Iterable[str]) -> Iterator[str]:
    """Cuts paragraphs into sentences of acceptable length."""
    for paragraph in paragraphs:
        text = _SPACE.sub(" ", paragraph).strip()
        if len(text) < MIN_CHARS:
            continue
        for sentence in _SENTENCE_END.split(text):
            letters = sum(c.isalpha() for c in sentence)
            if MIN_CHARS <= len(sentence) <= MAX_CHARS and letters * 10 >= 7 * len(
                sentence
            ):
                yield sentence


def _wordnet(root: Path) -> Iterator[str]:
    """The gloss of every synonym set, examples included."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in _read(root / "usr/share/wordnet" / f"data.{part}").splitlines():
            if not line.startswith("  ") and "|" in line:
                gloss = _SPACE.sub(" ", line.split("|", 1)[1]).strip()
                if len(gloss) >= MIN_CHARS // 2:
                    yield gloss[:MAX_CHARS]


def _dictd(root: Path, name: str) -> Iterator[str]:
    """The paragraphs of a dictd dictionary, without its marks and sources."""
    text = _read(root / "usr/share/dictd" / f"{name}.dict.dz")
    # The Jargon and GCIDE editors sign every paragraph in brackets.
    text = re.sub(r"\[[^\]\n]*\]", "", text)
    text = re.sub(r"[{}]", "", text)
    # An entry of GCIDE begins with "Word \pronunciation\, part of speech."
    text = re.sub(r"^\S.*?\\.*?\\,?\s*", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        piece = _SPACE.sub(" ", paragraph).strip()
        piece = re.sub(r"^(\d+\.|\([a-z]\)|<[^>]*>)\s*", "", piece)
        if len(piece) >= MIN_CHARS:
            yield piece[:MAX_CHARS]


def _html(root: Path) -> Iterator[str]:
    """The sentences of every HTML page, in the order of their paths."""
    for path in sorted(root.rglob("*.htm*")):
        if path.is_file() and not path.is_symlink():
            text = _MARKUP_BLOCK.sub(" ", _read(path))
            text = _BLOCK_TAG.sub("\n\n", text)
            text = html.unescape(_TAG.sub("", text))
            yield from _sentences(re.split(r"\n\s*\n", text))


def _pod(root: Path) -> Iterator[str]:
    """The sentences of Perl's documentation."""
    for path in sorted(root.rglob("*.pod")):
        text = _POD_FORMAT.sub(r"\1", _read(path))
        yield from _sentences(
            p for p in re.split(r"\n\s*\n", text) if not p.startswith(("=", " ", "\t"))
        )


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "wordnet-base": _wordnet,
    "dict-gcide": lambda root: _dictd(root, "gcide"),
    "dict-foldoc": lambda root: _dictd(root, "foldoc"),
    "perl-doc": _pod,
}


def sentences(packages: Iterable[str], cache: Path, seed: int = 1) -> list[str]:
    """All different sentences of the packages, in a seeded random order.

    Shuffled so that any prefix is a sample of the whole: the growth series
    compares sizes, not kinds, of text.  The result is kept in the cache.
    """
    names = tuple(packages)
    kept = cache / "text" / f"{'+'.join(names)}-{seed}.txt"
    if not kept.exists():
        found: dict[str, None] = {}
        for name in names:
            reader = _READERS.get(name, _html)
            found.update(dict.fromkeys(reader(unpack(name, cache))))
        texts = list(found)
        random.Random(seed).shuffle(texts)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text("\n".join(texts), encoding="utf-8")
        partial.rename(kept)
    # Not splitlines(): it also cuts at separators that a text may contain.
    return kept.read_text(encoding="utf-8").split("\n")
