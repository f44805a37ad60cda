"""Models that make vectors of texts."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from stategraph.resources.compile.data import Data
from stategraph.resources.compile.memory import Embed
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.agent import Embedding
from stategraph.resources.places import Path


def embedder(spec: Embedding, factory: Callable[[str, str], Any] | None, path: Path) -> Embed:
    """Return a function that makes vectors.

    Args:
        spec: The model.
        factory: Makes embeddings of LangChain of a provider and a name; None: `langchain.embeddings`.
        path: The field that names it.

    Raises:
        InvalidResource: The model cannot be made.
    """
    try:
        if factory is None:
            langchain = importlib.import_module("langchain.embeddings")  # where it is installed
            made: Data = langchain.init_embeddings(spec.name, provider=spec.provider)
        else:
            made = factory(spec.provider, spec.name)
    except (ImportError, ValueError) as error:
        raise InvalidResource(f"the model of embeddings cannot be made: {error}", path=path) from None

    async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        vectors: Sequence[Sequence[float]] = await made.aembed_documents(list(texts))
        return vectors

    return embed
