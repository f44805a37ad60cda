"""A layered layout: each node in a layer below those that lead to it, and few lines that cross.

The steps are those of K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981): edges that close a circle are turned around, layers are lengths of the longest path, edges that
pass layers get a bend in each, orders come from the means of neighbours, and so do the final places, which are a
regression under the order and the widths (pool adjacent violators).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from stategraph.drawing.picture import Edge, Picture

SWEEPS: Final = 8

#: How much more a line from bend to bend resists being bent than one from node to node.
_STRAIGHT: Final = 6.0


@dataclass(slots=True, eq=False)
class Slot:
    """A place in a layer.

    Attributes:
        node: The id of the node there; None: an edge passes.
        width: The width of the node's box.
        layer: Its layer, counted from the top.
        x: Its centre, as the layout found it; 0 is the left edge.
    """

    node: str | None
    width: float
    layer: int
    x: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """An edge on its way through the layers.

    Attributes:
        edge: The edge.
        slots: The places it touches, from the upper one to the lower one.
        upward: Whether the edge leads from the last place to the first one.
    """

    edge: Edge
    slots: Sequence[Slot]
    upward: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Places and routes of a picture.

    Attributes:
        layers: The places of each layer, from left to right.
        routes: The edges; those of a node to itself are not among them.
    """

    layers: Sequence[Sequence[Slot]]
    routes: Sequence[Route]

    def slot_of(self, node: str) -> Slot:
        """Return the place of a node."""
        return next(slot for layer in self.layers for slot in layer if slot.node == node)


@dataclass(slots=True)
class _Lines:
    """Joined places, by place."""

    above: dict[Slot, list[Slot]] = field(default_factory=lambda: defaultdict(list))
    below: dict[Slot, list[Slot]] = field(default_factory=lambda: defaultdict(list))

    def join(self, upper: Slot, lower: Slot) -> None:
        self.below[upper].append(lower)
        self.above[lower].append(upper)


def layout(picture: Picture, width_of: Callable[[str], float], gap: float) -> Layout:
    """Find a place for everything in a picture.

    Args:
        picture: The graph.
        width_of: Returns the width of a node's box, by its id.
        gap: The least room between two boxes of a layer.
    """
    edges = [edge for edge in picture.edges if edge.source != edge.target]
    turned = _closing(picture, edges)
    ends = [(e.target, e.source) if e in turned else (e.source, e.target) for e in edges]
    layer_of = _layers(picture, ends)
    slots = {node.id: Slot(node.id, width_of(node.id), layer_of[node.id]) for node in picture.nodes}
    layers: list[list[Slot]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node in _by_depth(picture, ends):
        layers[layer_of[node]].append(slots[node])
    lines, routes = _Lines(), []
    for edge, (upper, lower) in zip(edges, ends, strict=True):
        bends = [Slot(None, 1.0, each) for each in range(layer_of[upper] + 1, layer_of[lower])]
        for bend in bends:
            layers[bend.layer].append(bend)
        way = [slots[upper], *bends, slots[lower]]
        for one, other in pairwise(way):
            lines.join(one, other)
        routes.append(Route(edge, way, edge in turned))
    layers = _ordered(layers, lines)
    _place(layers, lines, gap)
    return Layout(layers, routes)


def _closing(picture: Picture, edges: Sequence[Edge]) -> set[Edge]:
    """Return the edges that close a circle, seen from where the graph begins."""
    leading: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        leading[edge.source].append(edge)
    found: set[Edge] = set()
    open_, closed = set[str](), set[str]()
    starts = [node.id for node in picture.nodes if node.kind == "start"]
    for start in dict.fromkeys([*starts, *(node.id for node in picture.nodes)]):
        if start in closed:
            continue
        open_.add(start)
        path = [(start, iter(leading[start]))]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                open_.discard(node)
                closed.add(node)
            elif following.target in open_:
                found.add(following)
            elif following.target not in closed:
                open_.add(following.target)
                path.append((following.target, iter(leading[following.target])))
    return found


def _layers(picture: Picture, ends: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the layer of each node: the length of the longest path to it; where the graph ends is the last."""
    below, waits = defaultdict[str, list[str]](list), defaultdict[str, int](int)
    for upper, lower in ends:
        below[upper].append(lower)
        waits[lower] += 1
    layer = {node.id: 0 for node in picture.nodes}
    ready = [node.id for node in picture.nodes if not waits[node.id]]
    for node in ready:
        for lower in below[node]:
            layer[lower] = max(layer[lower], layer[node] + 1)
            waits[lower] -= 1
            if not waits[lower]:
                ready.append(lower)
    last = max(layer.values(), default=0)
    for each in picture.nodes:
        if each.kind == "end" and not below[each.id] and ":" not in each.id:
            layer[each.id] = max(last, layer[each.id])
            if any(layer[n.id] == layer[each.id] for n in picture.nodes if n is not each):
                layer[each.id] += 1
    return layer


def _by_depth(picture: Picture, ends: Iterable[tuple[str, str]]) -> list[str]:
    """Return the nodes in the order in which a walk that goes down first meets them."""
    below = defaultdict[str, list[str]](list)
    lowers = set[str]()
    for upper, lower in ends:
        below[upper].append(lower)
        lowers.add(lower)
    waiting = [node.id for node in reversed(picture.nodes) if node.id not in lowers]
    met: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node not in met:
            met[node] = None
            waiting += reversed(below[node])
    return list(met)


def _ordered(layers: list[list[Slot]], lines: _Lines) -> list[list[Slot]]:
    """Return the layers in the order in which the fewest lines were found to cross."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, lines)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = lines.above if down else lines.below
        for at in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            place = {slot: i for i, slot in enumerate(layers[at - 1 if down else at + 1])}
            layers[at] = _sorted(layers[at], neighbours, place)
        crossings = _crossings(layers, lines)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
        if not fewest:
            break
    return best


def _sorted(layer: list[Slot], neighbours: Mapping[Slot, list[Slot]], place: Mapping[Slot, int]) -> list[Slot]:
    """Return a layer by the means of its neighbours' places; what has no neighbours stays where it is."""
    mean = {slot: sum(place[each] for each in near) / len(near) for slot in layer if (near := neighbours.get(slot))}
    moving = iter(sorted((slot for slot in layer if slot in mean), key=mean.__getitem__))
    return [next(moving) if slot in mean else slot for slot in layer]


def _crossings(layers: Sequence[Sequence[Slot]], lines: _Lines) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        place = {slot: i for i, slot in enumerate(lower)}
        ends = [place[each] for slot in upper for each in sorted(lines.below.get(slot, ()), key=place.__getitem__)]
        total += sum(1 for i, one in enumerate(ends) for other in ends[i + 1 :] if other < one)
    return total


def _place(layers: Sequence[Sequence[Slot]], lines: _Lines, gap: float) -> None:
    """Set where the slots are, near the middle of what they are joined to, and far enough from each other."""
    for layer in layers:
        x = 0.0
        for slot in layer:
            slot.x = x + slot.width / 2
            x += slot.width + gap
    for sweep in range(2 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            pulls = [_pull(slot, lines) for slot in layer]
            _settle(layer, [wanted for wanted, _ in pulls], [weight for _, weight in pulls], gap)
    left = min((slot.x - slot.width / 2 for layer in layers for slot in layer), default=0.0)
    for layer in layers:
        for slot in layer:
            slot.x -= left


def _pull(slot: Slot, lines: _Lines) -> tuple[float, float]:
    """Return where a slot wants to be, the middle of what it is joined to, and how strongly."""
    near = [*lines.above.get(slot, ()), *lines.below.get(slot, ())]
    if not near:
        return slot.x, 1.0
    pulls = [_STRAIGHT if slot.node is None and each.node is None else 1.0 for each in near]
    total = sum(pulls)
    return sum(each.x * by for each, by in zip(near, pulls, strict=True)) / total, total


def _settle(layer: Sequence[Slot], wanted: Sequence[float], weights: Sequence[float], gap: float) -> None:
    """Set the places of a layer as near to the wanted ones as order and widths allow."""
    offset, offsets = 0.0, []
    for i, slot in enumerate(layer):
        if i:
            offset += (layer[i - 1].width + slot.width) / 2 + gap
        offsets.append(offset)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, by, weight in zip(wanted, offsets, weights, strict=True):
        block = (want - by, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, heavy, many = blocks.pop()
            total = heavy + block[1]
            block = ((mean * heavy + block[0] * block[1]) / total, total, many + block[2])
        blocks.append(block)
    at = 0
    for mean, _, many in blocks:
        for i in range(at, at + many):
            layer[i].x = mean + offsets[i]
        at += many
