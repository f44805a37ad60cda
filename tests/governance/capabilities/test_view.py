"""Views: one hashed set for planner and executor, names without clashes, refusals that say why."""

from __future__ import annotations

import random

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.actions import Reason
from stategraph.governance.context import CapabilitySelector
from stategraph.governance.errors import CapabilityDenied
from stategraph.governance.registry import Registry
from stategraph.governance.session import NoSessionError, Session
from stategraph.governance.view import CapabilityGraph, CapabilityView
from tests.governance.capabilities.given import Acting, context, offered

pytestmark = pytest.mark.anyio

OFFERS = [
    offered("function:tools/look", risk="read"),
    offered("function:tools/write_file"),
    offered("function:shop.orders/search", risk="read"),
    offered("mcp:github/search", "0", risk="external", trust="verified"),
    offered("agent:team/writer"),
    offered("graph:flows/refund", risk="destructive"),
]


def view(*offers, selected=None) -> CapabilityView:
    return CapabilityGraph.build(Registry(*(offers or OFFERS)), selected or context())


def reason(ask) -> str:
    with pytest.raises(CapabilityDenied) as caught:
        ask()
    return caught.value.reason


def test_the_digest_is_the_same_in_any_order_and_differs_with_any_part() -> None:
    shuffled = [*OFFERS]
    random.Random(3).shuffle(shuffled)
    first = view()
    assert view(*shuffled) == first and view(*shuffled).digest == first.digest
    others = [
        view(*OFFERS[1:]),
        view(*OFFERS, offered("agent:team/reader")),
        view(offered("function:tools/look", risk="write"), *OFFERS[1:]),
        view(offered("function:tools/look", "2", risk="read"), *OFFERS[1:]),
        view(offered("function:tools/look", risk="read", description="Looks."), *OFFERS[1:]),
        view(offered("function:tools/look", risk="read", trust="internal"), *OFFERS[1:]),
        view(selected=context("function:*")),
    ]
    assert len({first.digest, *(each.digest for each in others)}) == 8


def test_names_that_clash_get_their_source_in_front_whatever_came_first() -> None:
    assert list(view().names) == ["github_search", "look", "orders_search", "refund", "write_file", "writer"]
    clashing = view(offered("function:a.tools/f"), offered("function:b.tools/f"), offered("function:c/tools_f"))
    (one, two) = sorted(set(clashing.names) - {"tools_f"})
    assert clashing.names["tools_f"].source == "c" and one.startswith("tools_f_") and two.startswith("tools_f_")
    long = view(offered(f"function:tools/{'n' * 80}"), offered(f"function:tools/{'n' * 79}é"))
    assert all(len(name) <= 64 and name.isascii() for name in long.names) and len(long) == 2


def test_the_newest_version_that_is_selected_is_seen() -> None:
    offers = [offered("function:t/f", each) for each in ("1", "9", "10", "10.0-rc1", "2")]
    assert view(*offers).get("f").version == "10"
    assert view(*offers, selected=context("function:t/f@2", "function:t/f@1")).get("f").version == "2"
    assert reason(lambda: view(*offers).get("function:t/f@9")) == Reason.CAPABILITY_CHANGED


def test_what_is_not_there_is_refused_with_the_reason_and_what_there_is() -> None:
    found = view(selected=context("*", exclude=("graph:*",), max_risk="external"))
    assert reason(lambda: found.get("refund")) == Reason.CAPABILITY_NOT_SELECTED
    assert reason(lambda: found.get("graph:flows/refund@1")) == Reason.CAPABILITY_NOT_SELECTED
    with pytest.raises(
        CapabilityDenied, match=r"'lok'\. Did you mean 'look'\? Available: github_search, look"
    ) as caught:
        found.get("lok")
    assert caught.value.reason == Reason.CAPABILITY_UNKNOWN
    assert "look" in found and "refund" not in found and 3 not in found
    assert view(selected=context("function:*", "mpc:*")).unmatched == ("mpc:*",)
    with pytest.raises(CapabilityDenied, match="Nothing is left"):
        view(selected=context("none:*")).get("look")


def test_patterns_of_a_selector_may_be_a_list_and_no_text() -> None:
    selector = CapabilitySelector(["function:*"], exclude=["*@2"])  # type: ignore[arg-type]
    assert (selector.include, selector.exclude) == (("function:*",), ("*@2",))
    with pytest.raises(ConfigurationError, match=r"include is the text 'function:\*'; expected several"):
        CapabilitySelector("function:*")  # type: ignore[arg-type]


def test_capabilities_are_found_by_what_they_are() -> None:
    found = view()
    assert [each.name for each in found.select(kind="function")] == ["look", "search", "write_file"]
    assert [each.id for each in found.select(source="github")] == ["mcp:github/search@1"]
    assert [each.name for each in found.select(risk="read")] == ["look", "search"]
    assert [each.name for each in found.select(max_risk="write")] == ["look", "search", "write_file", "writer"]
    assert [each.name for each in found.select("function:tools/*", "agent:*", max_risk="read")] == ["look"]
    assert [each.name for each in found.select(trust="verified")] == ["search"]
    assert found.get("mcp:github/search") is found.get("github_search") is found.get("mcp:github/search@1")
    assert found.name_of(found.get("mcp:github/search")) == "github_search"


def test_a_view_is_reused_until_the_registry_changes() -> None:
    registry = Registry(*OFFERS)
    first = CapabilityGraph.build(registry, context())
    assert CapabilityGraph.build(registry, context()) is first
    registry.add(offered("function:tools/more"))
    second = CapabilityGraph.build(registry, context())
    assert second != first and "more" in second and "more" not in first
    with pytest.raises(TypeError):
        first.names["more"] = second.get("more")  # type: ignore[index]


def test_what_was_planned_on_another_set_is_refused() -> None:
    registry = Registry(*OFFERS)
    shown = CapabilityGraph.build(registry, context("function:tools/*"))
    resolve = CapabilityGraph.resolve
    assert reason(lambda: resolve(registry, context(), "refund", {}, shown.digest)) == Reason.CAPABILITY_NOT_SELECTED
    assert reason(lambda: resolve(registry, context(), "look", {}, "0" * 64)) == Reason.VIEW_CHANGED
    registry.add(offered("function:tools/look", "2", description="Looks, and tells others."))
    assert reason(lambda: resolve(registry, context(), "look", {}, shown.digest)) == Reason.CAPABILITY_CHANGED
    assert resolve(registry, context(), "write_file", {"n": 1}, shown.digest).arguments == {"n": 1}
    assert resolve(registry, context(), "look", {}).capability.version == "2"


def test_an_organisation_that_replaces_a_capability_of_the_host_is_found_out() -> None:
    host = Registry(offered("function:tools/look"))
    acme = Registry(base=host, tenant="acme")
    shown = CapabilityGraph.build(acme, context())
    acme.add(offered("function:tools/look", description="Looks, and tells others."))
    resolve = CapabilityGraph.resolve
    assert reason(lambda: resolve(acme, context(), "look", {}, shown.digest)) == Reason.CAPABILITY_CHANGED
    # What was resolved before is executed by nothing else.
    assert reason(lambda: acme.executor(shown.get("look"))) == Reason.CAPABILITY_CHANGED
    assert host.executor(shown.get("look")) is not None


async def test_a_tool_that_a_model_is_shown_goes_to_the_executor_and_nowhere_else() -> None:
    registry = Registry(*OFFERS)
    acting, found = Acting(registry), CapabilityGraph.build(registry, context())
    tools = {tool.name: tool for tool in found.tools(acting, context())}
    assert list(tools) == list(found.names)
    call = {"name": "look", "args": {"n": 3}, "id": "call-1", "type": "tool_call"}
    message = await tools["look"].ainvoke(call, {"configurable": {"thread_id": "t1"}})
    assert (message.content, message.tool_call_id, message.status) == ("{'n': 3}", "call-1", "success")
    (request,) = acting.requests
    assert (request.capability, request.call_id, request.view_digest) == (
        "function:tools/look@1",
        "call-1",
        found.digest,
    )
    assert (request.run.thread_id, request.context.tenant) == ("t1", "acme")
    assert tools["look"].invoke(call).content == "{'n': 3}"  # a caller that cannot await

    registry.withdraw("function:tools/look", why="It is retired.")
    message = await tools["look"].ainvoke(call)
    assert message.status == "error" and "It is retired. Available: write_file" in message.content


async def test_tools_without_an_executor_can_be_shown_and_do_nothing() -> None:
    (tool,) = view(offered("function:tools/look")).tools()
    assert tool.args_schema["properties"] == {"n": {"type": "integer"}}
    with pytest.raises(CapabilityDenied, match=r"view\.tools\(executor\)"):
        await tool.ainvoke({"n": 1})


async def test_without_a_context_the_active_session_says_who_acts() -> None:
    acting = Acting(Registry(offered("function:tools/look")))
    (tool,) = CapabilityGraph.build(acting.registry, context()).tools(acting)
    with pytest.raises(NoSessionError):
        await tool.ainvoke({"n": 1})
    async with Session(context()).active("run-7"):
        assert await tool.ainvoke({"n": 1}) == "{'n': 1}"
        await tool.ainvoke({"n": 1}, {"configurable": {"thread_id": "t9"}})
    first, second = acting.requests
    assert (first.run.run_id, first.context.tenant) == ("run-7", "acme")
    assert (second.run.run_id, second.run.thread_id) == ("run-7", "t9")


def test_skills_are_shown_as_one_tool_and_resolved_one_by_one() -> None:
    registry = Registry(
        offered("skill:local/pdf"), offered("skill:local/pdf/scripts/fill.py"), offered("skill:web/seo")
    )
    acting, found = Acting(registry), CapabilityGraph.build(registry, context())
    tools = {tool.name: tool for tool in found.tools(acting, context())}
    assert list(tools) == ["pdf_scripts_fill_py", "read_skill"]
    assert tools["read_skill"].args_schema["properties"]["skill"]["enum"] == ["pdf", "seo"]
    text = tools["read_skill"].invoke({"skill": "seo", "path": "a.md"})
    assert text == "{'path': 'a.md'}"
    assert acting.requests[0].capability == "read_skill"
    assert found.locate("read_skill", {"skill": "seo"})[0].id == "skill:web/seo@1"
    assert reason(lambda: found.locate("read_skill", {"skill": "xls"})) == Reason.CAPABILITY_UNKNOWN


def test_a_server_cannot_take_the_name_of_the_tool_that_reads_skills() -> None:
    registry = Registry(offered("mcp:evil/read_skill", "0"), offered("skill:local/pdf"))
    found = CapabilityGraph.build(registry, context())
    assert [tool.name for tool in found.tools()] == ["evil_read_skill", "read_skill"]
    assert found.locate("read_skill", {"skill": "pdf"})[0].kind == "skill"
    alone = CapabilityGraph.build(Registry(offered("mcp:evil/read_skill", "0")), context())
    assert alone.locate("read_skill", {"skill": "pdf"})[0].kind == "mcp"


def test_allowed_tools_narrow_a_view_and_never_widen_it() -> None:
    registry = Registry(*OFFERS, offered("skill:local/pdf"), offered("function:tools/Bash"))
    whole = CapabilityGraph.build(registry, context(exclude=("graph:*",)))
    allowed = ["look", "refund", "github_search", "Bash(git:*)", "agent:team/*"]
    narrow = CapabilityGraph.narrowed(registry, whole, allowed, "pdf")
    assert list(narrow.names) == ["github_search", "look", "pdf", "writer"]
    assert narrow.digest != whole.digest
    resolve = CapabilityGraph.resolve
    assert resolve(registry, context(), "look", {}, narrow.digest).capability.name == "look"
    assert (
        reason(lambda: resolve(registry, context(), "write_file", {}, narrow.digest)) == Reason.CAPABILITY_NOT_SELECTED
    )
    assert list(CapabilityGraph.narrowed(registry, whole, ["*"], "pdf").names) == ["pdf"]
