"""Figures as Prometheus reads them, and histograms.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/. Labels are few and of known values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

#: The suffix of a name, labels, and the figure.
Sample: TypeAlias = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its samples.

    Attributes:
        name: Its name, with its unit.
        kind: Its kind.
        meaning: A sentence for people.
        samples: Its figures at this moment.
    """

    name: str
    kind: Kind
    meaning: str
    samples: Sequence[Sample]


@dataclass(slots=True)
class Histogram:
    """Counts of values by buckets.

    Attributes:
        bounds: Upper bounds of the buckets.
        counts: Values by bucket; the last are those above all bounds.
        total: The sum of the values.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Return its samples."""
        seen = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            yield "_bucket", {**labels, "le": bound}, seen
        yield "_sum", labels, self.total
        yield "_count", labels, seen


def gauge(name: str, meaning: str, value: float, **labels: str) -> Family:
    """Return a metric that is one figure at this moment."""
    return Family(name, "gauge", meaning, [("", labels, value)])


def text(families: Iterable[Family]) -> str:
    """Return metrics as Prometheus reads them."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{suffix}{_labels(labels)} {value:.15g}" for suffix, labels, value in family.samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    said = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{said}}}" if said else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
