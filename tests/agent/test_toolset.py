"""Which tools of an agent run here, which the host runs, and which of them its model is shown."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool

from stategraph.agent.settings.inputs import AgentInputs
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.agent.tools.tool_sources import FunctionTools, ToolSources
from stategraph.agent.tools.toolset import ToolSet
from stategraph.errors import ConfigurationError
from stategraph.testing.chat_model import ScriptedChatModel

DEFERRED = {"name": "later", "defer_loading": True}


@tool
def echo(text: str) -> str:
    """Return the text."""
    return text


@tool
def twice(text: str) -> str:
    """Return the text two times."""
    return text * 2


def shout(text: str) -> str:
    """Return the text in capitals."""
    return text.upper()


def toolset(**given: Any) -> ToolSet:
    return ToolSet.of(AgentInputs.of({"agent_id": "a", "model": ScriptedChatModel(), **given}))


def offered(tools: ToolSet) -> list[str]:
    return [name for name, _ in tools.offers]


# -- where they run ------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "local", "hosted", "offers", "registry"),
    [
        ({}, [], [], [], []),
        ({"tools": [echo, shout]}, ["echo", "shout"], [], ["echo", "shout"], []),
        ({"tools": [echo], "graph_tools": [twice]}, ["echo", "twice"], [], ["echo", "twice"], []),
        ({"tools": [echo], "tool_map": {"alias": twice}}, ["echo", "alias"], [], ["echo"], []),
        ({"tools": [echo, {"type": "web_search"}]}, ["echo"], [], ["echo", "web_search"], []),
        ({"tool_definitions": [{"name": "find"}]}, [], ["find"], ["find"], ["find"]),
        (
            {"tool_definitions": [{"name": "find"}], "graph_tools": [echo]},
            ["echo"],
            ["find"],
            ["find", "echo"],
            ["find"],
        ),
        ({"tools": [echo], "tool_registry": {"later": DEFERRED}}, ["echo"], [], ["echo"], ["later"]),
        (
            {
                "tool_definitions": [{"name": "find"}],
                "graph_tools": [echo],
                "tool_map": {"mapped": twice},
                "tool_registry": {
                    "later": DEFERRED,
                    "echo": {"name": "echo"},
                    "mapped": {"name": "mapped"},
                    "find": {"name": "find", "description": "of the registry"},
                },
            },
            ["echo", "mapped"],
            ["find", "later"],
            ["find", "later", "echo"],
            ["later", "echo", "mapped", "find"],
        ),
    ],
)
def test_tools_run_here_or_at_the_host_as_they_were_given(
    given: dict[str, Any], local: list[str], hosted: list[str], offers: list[str], registry: list[str]
) -> None:
    tools = toolset(**given)
    assert (list(tools.local), list(tools.hosted)) == (local, hosted)
    assert (offered(tools), list(tools.registry)) == (offers, registry)
    assert all(isinstance(each, BaseTool) for each in tools.local.values())


def test_a_definition_counts_more_than_that_of_the_registry() -> None:
    of_registry = {"find": {"name": "find", "description": "of the registry"}}
    tools = toolset(tool_definitions=[{"name": "find", "description": "own"}], tool_registry=of_registry)
    ((name, offer),) = tools.offers
    assert (name, offer.description, tools.registry["find"]) == ("find", "own", offer)


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ({"name": "search", "type": "web_search"}, "search"),
        ({"type": "web_search"}, "web_search"),
        ({"name": "", "type": "web_search"}, "web_search"),
        ({"google_search": {}}, "1"),
    ],
)
def test_a_tool_of_the_provider_is_known_by_its_name_its_type_or_its_place(described: Any, name: str) -> None:
    tools = toolset(tools=[echo, described])
    assert tools.offers[1] == (name, described)
    assert type(tools.offers[1][1]) is dict
    assert list(tools.local) == ["echo"]


# -- what is refused -----------------------------------------------------


@pytest.mark.parametrize(
    ("given", "twin"),
    [
        ({"tools": [echo, echo]}, None),
        ({"tools": [{"type": "web_search"}, {"type": "web_search"}]}, None),
        ({"tools": [{"type": "web_search"}, {"type": "web_search", "max_uses": 1}]}, "web_search"),
        ({"tools": [echo], "graph_tools": [{"name": "echo"}]}, "echo"),
        ({"tool_definitions": [{"name": "find"}, {"name": "find"}]}, None),
        ({"tool_definitions": [{"name": "find"}, {"name": "find", "description": "d"}]}, "find"),
        ({"tool_definitions": [{"name": "echo"}], "graph_tools": [echo]}, "echo"),
    ],
)
def test_a_tool_may_be_given_twice_but_not_two_tools_by_one_name(given: dict[str, Any], twin: str | None) -> None:
    if twin is None:
        assert len(toolset(**given).offers) == 1
        return
    with pytest.raises(ConfigurationError, match=f"Agent 'a' has two tools called '{twin}', and a model could not"):
        toolset(**given)


@pytest.mark.parametrize(
    ("given", "named", "told"),
    [
        ({}, ["echo"], "names unknown tool 'echo'. Its tools are: none"),
        ({"tools": [echo, twice]}, ["b", "a", "echo"], "names unknown tools 'a', 'b'. Its tools are: echo, twice"),
        (
            {"tool_definitions": [{"name": "find"}], "graph_tools": [echo]},
            ["x"],
            "names unknown tool 'x'. Its tools are: echo, find",
        ),
    ],
)
def test_policies_of_tools_that_there_are_not_are_named_with_those_that_there_are(
    given: dict[str, Any], named: list[str], told: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        toolset(tool_policies={name: ToolPolicy(timeout_s=1) for name in named}, **given)
    assert str(raised.value) == f"Agent 'a': tool_policies {told}"


def test_tools_of_both_sides_and_of_the_map_may_have_policies() -> None:
    names = ("find", "echo", "alias")
    given = {"tool_definitions": [{"name": "find"}], "graph_tools": [echo], "tool_map": {"alias": twice}}
    assert toolset(tool_policies={name: ToolPolicy(timeout_s=1) for name in names}, **given).hosted == ("find",)


# -- what the model is shown ---------------------------------------------


@pytest.mark.parametrize(
    ("described", "before", "after"),
    [
        (None, True, True),
        ({}, True, True),
        ({"allowed_callers": ["direct"]}, True, True),
        ({"allowed_callers": ["code_execution", "direct"]}, True, True),
        ({"allowed_callers": ["code_execution"]}, False, False),
        ({"allowed_callers": []}, False, False),
        ({"defer_loading": True}, False, True),
        ({"defer_loading": True, "allowed_callers": ["code_execution"]}, False, False),
    ],
)
def test_a_tool_is_shown_if_the_model_may_call_it_and_it_is_not_to_be_discovered_first(
    described: dict[str, Any] | None, before: bool, after: bool
) -> None:
    registry = {} if described is None else {"echo": {"name": "echo", **described}}
    tools = toolset(tools=[echo, twice], tool_registry=registry)
    assert tools.shown(()) == [*([echo] if before else []), twice]
    assert tools.shown({"echo"}) == [*([echo] if after else []), twice]
    assert tools.defers is (described is not None and "defer_loading" in described)
    if described is not None:
        hosted = toolset(tool_definitions=[{"name": "echo", **described}, {"name": "twice"}])
        assert hosted.names_shown(()) == (("echo", "twice") if before else ("twice",))
        assert hosted.names_shown({"echo"}) == (("echo", "twice") if after else ("twice",))


def test_a_deferred_tool_that_is_not_there_defers_nothing() -> None:
    assert not toolset(tools=[echo], tool_registry={"later": DEFERRED}).defers


# -- sources of tools ----------------------------------------------------


@pytest.mark.anyio
async def test_functions_are_a_source_that_gives_all_groups_or_those_that_are_named_once() -> None:
    source = FunctionTools({"sounds": [echo, shout], "sums": [twice]})
    assert source.names == ("sounds", "sums")
    await source.open()
    for names, found in (
        ((), ["echo", "shout", "twice"]),
        (("sums",), ["twice"]),
        (("sums", "sounds", "sums"), ["twice", "echo", "shout"]),
    ):
        assert [each.name for each in await source.tools(*names)] == found
    await source.aclose()


@pytest.mark.anyio
async def test_several_sources_give_all_tools_or_those_of_the_names_that_are_asked() -> None:
    sources = ToolSources([FunctionTools({"a": [echo], "b": [shout]}), FunctionTools({"c": [twice]})])
    assert sources.names == ("a", "b", "c")
    for names, found in (
        ((), ["echo", "shout", "twice"]),
        (("b",), ["shout"]),
        (("c",), ["twice"]),
        (("c", "a"), ["echo", "twice"]),
    ):
        assert [each.name for each in await sources.tools(*names)] == found
    with pytest.raises(ValueError, match="There is no source of tools 'z'; there are: a, b, c"):
        await sources.tools("a", "z")
    with pytest.raises(ValueError, match="There is no source of tools 'z'; there are: none"):
        await ToolSources([]).tools("z")


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Two sources of tools are called 'b': rename one"):
        ToolSources([FunctionTools({"a": [], "b": []}), FunctionTools({"c": [], "b": []})])


@pytest.mark.anyio
async def test_sources_are_closed_from_the_last_to_the_first_and_the_first_error_is_raised() -> None:
    told: list[str] = []

    class Source(FunctionTools):
        """A source that may fail, and notes what it is told."""

        def __init__(self, name: str, *, opens: bool = True, closes: bool = True) -> None:
            super().__init__({name: []})
            self._opens, self._closes = opens, closes

        async def open(self) -> None:
            told.append(f"open {self.names[0]}")
            if not self._opens:
                raise OSError(f"{self.names[0]} cannot be reached")

        async def aclose(self) -> None:
            told.append(f"close {self.names[0]}")
            if not self._closes:
                raise OSError(f"{self.names[0]} does not close")

    sources = ToolSources([Source("a", closes=False), Source("b", closes=False), Source("c")])
    await sources.open()
    with pytest.raises(OSError, match="b does not close"):
        await sources.aclose()
    assert told == ["open a", "open b", "open c", "close c", "close b", "close a"]
    told.clear()
    with pytest.raises(OSError, match="c cannot be reached"):
        await ToolSources([Source("a"), Source("b"), Source("c", opens=False), Source("d")]).open()
    assert told == ["open a", "open b", "open c", "close b", "close a"]


def test_an_object_that_is_no_source_is_refused_with_what_it_lacks() -> None:
    class Half:
        names = ("half",)

        async def open(self) -> None: ...

    with pytest.raises(ConfigurationError) as raised:
        ToolSources([Half()])  # type: ignore[list-item]
    assert "a value of type Half without 'aclose', 'tools'; expected an object with aclose, names, open, tools" in str(
        raised.value
    )
