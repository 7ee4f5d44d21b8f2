"""The sample embeddings as LangChain's interface to a model.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from samples import embed


class SampleEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text)
