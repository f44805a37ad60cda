"""Similarity of texts by their words and letters; no model, no network, the same in every process.

A text becomes a vector of hashed words and of three letters each (two for scripts without spaces), weighed by how
often they stand there. Texts with the same words are alike, whatever they mean: a model of embeddings knows more, where
one is named.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

Sparse: TypeAlias = Mapping[int, float]

_BUCKETS: Final = 1 << 18
_WORD: Final = re.compile(r"\w+")


def vector(text: str) -> dict[int, float]:
    """Return the vector of a text, of length 1; empty for a text without letters."""
    counts = Counter(zlib.crc32(part.encode()) % _BUCKETS for part in _parts(text.casefold()))
    weights = {bucket: 1.0 + math.log(count) for bucket, count in counts.items()}
    length = math.sqrt(sum(each * each for each in weights.values()))
    return {bucket: weight / length for bucket, weight in weights.items()} if length else {}


def alike(a: Sparse, b: Sparse) -> float:
    """Return how alike two texts are, from 0 to 1, given their vectors."""
    if len(a) > len(b):
        a, b = b, a
    return sum(weight * b[bucket] for bucket, weight in a.items() if bucket in b)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the cosine of two dense vectors; 0 if their lengths differ or one is zero."""
    if len(a) != len(b):
        return 0.0
    lengths = math.sqrt(sum(each * each for each in a)) * math.sqrt(sum(each * each for each in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def _parts(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        size = 3 if word.isascii() else 2
        yield f"={word}"
        for start in range(len(word) - size + 1):
            yield word[start : start + size]
