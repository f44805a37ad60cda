"""Pictures of graphs: what a person sees, and what must hold of any graph."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.drawing.layout import layout
from stategraph.drawing.picture import Edge, Node, Picture, picture_of
from stategraph.drawing.svg import as_svg
from stategraph.drawing.text import as_list, as_text, width
from stategraph.graph.state import END, START, StateGraph


def picture(*edges: str) -> Picture:
    """Make a picture of edges such as `a>b`, `a>?b` (conditional) and `a>b:label`."""
    found, names = [], dict.fromkeys([""])
    for each in edges:
        ends, _, label = each.partition(":")
        source, _, target = ends.partition(">")
        found.append(Edge(source, target.lstrip("?"), label, target.startswith("?")))
        names |= dict.fromkeys([source, target.lstrip("?")])
    kinds = {"start": "start", "end": "end"}
    return Picture.of([Node(name, name, kinds.get(name, "node")) for name in names if name], found)  # type: ignore[arg-type]


AGENT = ("start>agent", "agent>?tools", "tools>agent", "agent>?end")


DRAWN = """\
   ┌───────┐
   │ start │
   └───┬───┘
       ▼
   ┌───────┐
   │ agent │
   └─┬───┬─┘
     ┆ ▲ ┆
   ┌┄┘ │ └┄┄┐
   ▼   │    ┆
┌──────┴┐   ┆
│ tools │   ┆
└───────┘   ┆
            ▼
         ┌─────┐
         │ end │
         └─────┘"""


def test_an_agent_is_drawn_with_its_way_back() -> None:
    assert as_text(picture(*AGENT)) == DRAWN


def test_a_terminal_without_box_characters_gets_a_drawing_of_ascii() -> None:
    drawn = as_text(picture(*AGENT), ascii_only=True)
    assert drawn.isascii()
    assert "| tools |" in drawn
    assert {"v", "^", ":", "+"} <= set(drawn)


def test_labels_stand_beside_their_lines_or_below_the_picture() -> None:
    drawn = as_text(picture("start>a", "a>?b:money", "a>?c:help", "b>end", "c>end"))
    assert "▼ money" in drawn or "money ▼" in drawn
    crowded = as_text(picture("a>b:x", "b>a:a long label that has no room", "a>c:y", "c>a:z"))
    assert "b → a: a long label that has no room" in crowded


def test_a_node_that_leads_to_itself_says_so() -> None:
    assert "a ↻" in as_text(picture("start>a", "a>a", "a>end"))
    assert "(again)" in as_text(picture("start>a", "a>a", "a>end"), ascii_only=True)
    assert 'data-source="a" data-target="a"' in as_svg(picture("start>a", "a>a"))


def test_a_list_of_edges_tells_the_same() -> None:
    assert as_list(picture("start>a", "a>?b:if")).splitlines() == ["start → a", "a ⇢ b  (if)"]
    assert as_list(Picture.of([Node("a", "a")], [])) == "a"


def test_svg_is_well_formed_and_names_nodes_and_edges() -> None:
    root = ElementTree.fromstring(as_svg(picture(*AGENT, "agent>a<&b"), title='"<agent>"'))
    found = {each.get("data-node") for each in root.iter() if each.get("data-node")}
    assert found == {"start", "agent", "tools", "end", "a<&b"}
    assert ("agent", "tools") in {(each.get("data-source"), each.get("data-target")) for each in root.iter()}
    assert [each.get("class") for each in root.iter() if each.get("data-target") == "tools"] == ["edge conditional"]


def test_a_compiled_graph_becomes_a_picture() -> None:
    builder = StateGraph(dict)
    builder.add_node("a", lambda state: state)
    builder.add_node("b", lambda state: state)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "go", {"go": "b", "stop": END})
    found = picture_of(builder.compile().get_graph())
    assert [(each.id, each.label, each.kind) for each in found.nodes] == [
        ("__start__", "start", "start"),
        ("a", "a", "node"),
        ("b", "b", "node"),
        ("__end__", "end", "end"),
    ]
    assert Edge("a", "b", "go", True) in found.edges
    assert Edge("b", "__end__", "", False) in found.edges


def test_an_edge_to_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="names no node"):
        Picture.of([Node("a", "a")], [Edge("a", "b")])


NAMES = st.sampled_from(["start", "a", "b", "c", "d", "e", "f", "end"])
EDGES = st.lists(
    st.tuples(NAMES, NAMES, st.booleans()).map(lambda each: f"{each[0]}>{'?' * each[2]}{each[1]}"), max_size=14
)


@given(EDGES)
def test_of_any_graph_every_box_is_drawn_whole_and_no_two_overlap(edges: list[str]) -> None:
    given_ = picture(*edges)
    found = layout(given_, lambda node: 7.0, 3.0)
    assert {slot.node for layer in found.layers for slot in layer if slot.node} == {node.id for node in given_.nodes}
    for layer in found.layers:
        for one, other in pairwise(layer):
            assert one.x + one.width / 2 + 3.0 <= other.x - other.width / 2 + 1e-6
    for route in found.routes:
        assert [slot.layer for slot in route.slots] == list(range(route.slots[0].layer, route.slots[-1].layer + 1))
        ends = (route.edge.target, route.edge.source) if route.upward else (route.edge.source, route.edge.target)
        assert (route.slots[0].node, route.slots[-1].node) == ends
    drawn = as_text(given_)
    assert all(node.label in drawn for node in given_.nodes)
    assert drawn.count("▼") + drawn.count("▲") <= len(given_.edges)
    assert width(drawn) == max((len(line) for line in drawn.splitlines()), default=0)
    ElementTree.fromstring(as_svg(given_))
