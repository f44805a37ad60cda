"""The recorded scenarios: the same agents, scripted answers and calls as in the recordings, in Python.

A letter groups them: a text, b one tool, c several tools, d reasoning, e tools that fail, f several agents, g pause and
resume, h failures, i abort and halt, j trimming, k summaries, l no handlers, o no tool handler, p system messages,
q title, r the eager flag.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from stategraph import AbortController, ChatModelStreamHandler, HookRegistry, Run, ask_user_question
from stategraph.testing import Drop, Failure, Fault, Gate, Hold, Reply, Text, Think, call, reply
from tests.golden.counting import count_tokens
from tests.golden.rig import Rig

Play: TypeAlias = Callable[[Rig], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A recorded scenario.

    Attributes:
        name: The name of its recording.
        play: Plays it in a rig.
        side_by_side: Whether agents run at the same time: then only the order within each agent is recorded.
    """

    name: str
    play: Play
    side_by_side: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, *, side_by_side: bool = False) -> Callable[[Play], Play]:
    """Register a scenario under the name of its recording."""

    def register(play: Play) -> Play:
        SCENARIOS[name] = Scenario(name, play, side_by_side)
        return play

    return register


# Tools in the process of the run.


@tool
async def get_weather(city: str) -> str:
    """weather"""
    return f"Sunny in {city}"


@tool
async def add(a: int, b: int) -> dict[str, int]:
    """add"""
    return {"sum": a + b}


@tool
async def boom(x: str) -> str:
    """fails"""
    raise RuntimeError("kaboom")


@tool
async def ask_user(q: str) -> str:
    """ask"""
    answer = ask_user_question({"question": q, "options": [{"label": "Yes", "value": "yes"}]})
    return f"User said: {answer['answer']}"


# Tools of the host: definitions, and what it does with a batch of calls.

STRING = {"type": "string"}
DEFINITIONS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "weather",
        "parameters": {"type": "object", "properties": {"city": STRING}, "required": ["city"]},
    },
    {"name": "boom", "description": "fails", "parameters": {"type": "object", "properties": {"x": STRING}}},
]


def report_weather(batch: Any) -> None:
    answer_all(batch, lambda asked: {"content": f"Sunny in {asked['args']['city']}", "status": "success"})


def answer_x(batch: Any) -> None:
    answer_all(batch, lambda _: {"content": "x", "status": "success"})


def fail_all(batch: Any) -> None:
    answer_all(batch, lambda _: {"content": "", "status": "error", "errorMessage": "kaboom"})


def reject(batch: Any) -> None:
    batch.reject(RuntimeError("host exploded"))


def answer_all(batch: Any, answer: Callable[[Any], dict[str, Any]]) -> None:
    batch.resolve([{"toolCallId": asked["id"], **answer(asked)} for asked in batch["toolCalls"]])


PARIS = call("get_weather", id="call_1", city="Paris")
BOOM = call("boom", id="call_1", x="y")


def human(text: str) -> list[BaseMessage]:
    return [HumanMessage(text)]


# a: text


@scenario("a_text")
async def a_text(rig: Rig) -> None:
    rig.script("m", reply("Hello there friend.", usage=(12, 4)))
    run = await rig.create("run-a", rig.agent("agent_a"), customHandlers=rig.handlers())
    await rig.process(run, human("hi"))
    rig.keep_usage()


@scenario("a2_text_legacy_llmConfig")
async def a2_text_of_the_older_form(rig: Rig) -> None:
    rig.script("m", "Hello there friend.")
    graph = {
        "type": "standard",
        "llmConfig": {"provider": "openAI", **rig.client_options("m")},
        "instructions": "Be nice.",
        "additional_instructions": "Extra tail.",
    }
    run = await rig.create("run-a2", graph=graph, customHandlers=rig.handlers(), returnContent=False)
    await rig.process(run, human("hi"))


@scenario("a3_text_sdk_stream_handler")
async def a3_text_through_the_stream_handler(rig: Rig) -> None:
    rig.script("m", "Hello there friend.")
    handlers = rig.handlers(instead={"on_chat_model_stream": ChatModelStreamHandler()})
    run = await rig.create("run-a3", rig.agent("agent_a"), customHandlers=handlers)
    await rig.process(run, human("hi"))


@scenario("a5_disable_streaming")
async def a5_text_at_once(rig: Rig) -> None:
    rig.script("m", "Hello there friend.")
    agent = rig.agent("agent_a", clientOptions={"disable_streaming": True, "streaming": False})
    run = await rig.create("run-a5", agent, customHandlers=rig.handlers())
    await rig.process(run, human("hi"))


# b: one tool


@scenario("b_tool_call_inprocess")
async def b_a_tool_of_this_process(rig: Rig) -> None:
    rig.script("m", reply(PARIS, usage=(20, 9)), reply("It is sunny.", usage=(35, 5)))
    run = await rig.create("run-b", rig.agent("agent_b", tools=[get_weather]), customHandlers=rig.handlers())
    await rig.process(run, human("weather?"))
    rig.keep_usage()


@scenario("b2_tool_call_with_pretext")
async def b2_text_before_the_call(rig: Rig) -> None:
    rig.script("m", reply("Let me check.", PARIS), "It is sunny.")
    run = await rig.create("run-b2", rig.agent("agent_b", tools=[get_weather]), customHandlers=rig.handlers())
    await rig.process(run, human("weather?"))


@scenario("b3_tool_event_driven")
async def b3_a_tool_of_the_host(rig: Rig) -> None:
    rig.script("m", reply("Let me check.", PARIS), "It is sunny.")
    handlers = rig.handlers(on_execute=report_weather)
    run = await rig.create("run-b3", rig.agent("agent_b", toolDefinitions=DEFINITIONS), customHandlers=handlers)
    await rig.process(run, human("weather?"))


# c: several tools


@scenario("c_parallel_tools_inprocess")
async def c_two_tools_of_one_answer(rig: Rig) -> None:
    rig.script("m", reply(PARIS, call("add", id="call_2", a=1, b=2)), "Both done.")
    run = await rig.create("run-c", rig.agent("agent_c", tools=[get_weather, add]), customHandlers=rig.handlers())
    await rig.process(run, human("both"))


# d: reasoning


@scenario("d_reasoning_content")
async def d_reasoning_beside_the_text(rig: Rig) -> None:
    rig.script("m", Reply((Think("Let me "), Think("think."), Text("The "), Text("answer."))))
    run = await rig.create("run-d", rig.agent("agent_d"), customHandlers=rig.handlers())
    await rig.process(run, human("think"))


@scenario("d3_think_tags")
async def d3_reasoning_in_tags(rig: Rig) -> None:
    pieces = ("<think>", "hmm ", "ok", "</think>", "Final ", "answer.")
    rig.script("m", reply(*(Text(piece) for piece in pieces)))
    run = await rig.create("run-d3", rig.agent("agent_d"), customHandlers=rig.handlers())
    await rig.process(run, human("think"))


# e: tools that fail


@scenario("e_tool_error_inprocess")
async def e_a_tool_raises(rig: Rig) -> None:
    rig.script("m", reply(BOOM), "Tool failed.")
    run = await rig.create("run-e", rig.agent("agent_e", tools=[boom]), customHandlers=rig.handlers())
    called: list[list[str]] = []
    callbacks = {
        "handle_tool_start": lambda graph, *_: called.append(["start"]),
        "handle_tool_end": lambda graph, *_: called.append(["end"]),
        "handle_tool_error": lambda graph, error, *_: called.append(["error", str(error)]),
    }
    await rig.process(run, human("go"), options={"callbacks": callbacks})
    rig.keep(clientCallbacks=called)


@scenario("e2_tool_error_event_driven")
async def e2_the_host_reports_an_error(rig: Rig) -> None:
    rig.script("m", reply(BOOM), "Tool failed.")
    handlers = rig.handlers(on_execute=fail_all)
    run = await rig.create("run-e2", rig.agent("agent_e", toolDefinitions=DEFINITIONS), customHandlers=handlers)
    await rig.process(run, human("go"))


@scenario("e3_unknown_tool")
async def e3_the_model_invents_a_tool(rig: Rig) -> None:
    rig.script("m", reply(call("nope", id="call_1")), "Ok.")
    run = await rig.create("run-e3", rig.agent("agent_e", tools=[get_weather]), customHandlers=rig.handlers())
    await rig.process(run, human("go"))


@scenario("e4_event_driven_reject")
async def e4_the_host_rejects_the_batch(rig: Rig) -> None:
    rig.script("m", reply(BOOM))
    handlers = rig.handlers(on_execute=reject)
    run = await rig.create("run-e4", rig.agent("agent_e", toolDefinitions=DEFINITIONS), customHandlers=handlers)
    await rig.process(run, human("go"))


# f: several agents


def several(*agents: dict[str, Any], edges: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "multi-agent", "agents": list(agents), "edges": edges}


@scenario("f_handoff")
async def f_one_agent_hands_over(rig: Rig) -> None:
    transfer = call("lc_transfer_to_agent_two", id="call_h", instructions="Handle billing.")
    rig.script("m1", reply("Transferring.", transfer))
    rig.script("m2", "Agent two here.")
    edge = {
        "from": "agent_one",
        "to": "agent_two",
        "edgeType": "handoff",
        "description": "billing",
        "prompt": "What should agent two do?",
    }
    one, two = rig.agent("agent_one", "m1", name="One"), rig.agent("agent_two", "m2", name="Two")
    run = await rig.create("run-f", graph=several(one, two, edges=[edge]), customHandlers=rig.handlers())
    await rig.process(run, human("billing please"))
    rig.keep(agentMap=list(run.graph.get_content_part_agent_map()), active=run.graph.get_active_agent_ids())


@scenario("f2_direct_parallel", side_by_side=True)
async def f2_two_agents_fan_out_and_in(rig: Rig) -> None:
    first = Gate("the left agent's first word")
    rig.script("m1", "Intro.")
    rig.script("m2", "Left side.")
    rig.script("m3", reply(Hold(first), "Right side."))
    rig.script("m4", "Summary done.")
    agents = [rig.agent(name, f"m{number}") for number, name in enumerate(("start", "left", "right", "join"), 1)]
    edges = [
        {"from": "start", "to": ["left", "right"], "edgeType": "direct"},
        {"from": ["left", "right"], "to": "join", "edgeType": "direct", "prompt": "Summarize: {results}"},
    ]
    handlers = rig.handlers(after={"on_message_delta": opens(first, "Left ")})
    run = await rig.create("run-f2", graph=several(*agents, edges=edges), customHandlers=handlers)
    await rig.process(run, human("analyse"))


@scenario("f3_direct_sequence")
async def f3_one_agent_after_the_other(rig: Rig) -> None:
    rig.script("m1", "Draft.")
    rig.script("m2", "Polished.")
    edges = [{"from": "writer", "to": "editor", "edgeType": "direct"}]
    graph = several(rig.agent("writer", "m1"), rig.agent("editor", "m2"), edges=edges)
    run = await rig.create("run-f3", graph=graph, customHandlers=rig.handlers())
    await rig.process(run, human("write"))


@scenario("f4_parallel_handoffs", side_by_side=True)
async def f4_one_agent_hands_over_to_two(rig: Rig) -> None:
    first = Gate("the second agent's first word")
    transfers = [
        call("lc_transfer_to_two", id="call_h2", instructions="Do A."),
        call("lc_transfer_to_three", id="call_h3", instructions="Do B."),
    ]
    rig.script("m1", reply(*transfers))
    rig.script("m2", "Two did A.")
    rig.script("m3", reply(Hold(first), "Three did B."))
    agents = [
        rig.agent(name, f"m{number}", name=name.title()) for number, name in enumerate(("one", "two", "three"), 1)
    ]
    edges = [{"from": "one", "to": ["two", "three"], "edgeType": "handoff", "prompt": "Instructions"}]
    handlers = rig.handlers(after={"on_message_delta": opens(first, "Two ")})
    run = await rig.create("run-f4", graph=several(*agents, edges=edges), customHandlers=handlers)
    await rig.process(run, human("split"))


@scenario("f5_parallel_start", side_by_side=True)
async def f5_two_agents_from_the_start(rig: Rig) -> None:
    first = Gate("the first agent's word")
    rig.script("m1", "Alpha.")
    rig.script("m2", reply(Hold(first), "Beta."))
    graph = several(rig.agent("a", "m1"), rig.agent("b", "m2"), edges=[])
    handlers = rig.handlers(after={"on_message_delta": opens(first, "Alpha.")})
    run = await rig.create("run-f5", graph=graph, customHandlers=handlers)
    await rig.process(run, human("both"))


@scenario("f6_handoff_no_prompt_roundtrip")
async def f6_there_and_back(rig: Rig) -> None:
    rig.script("m1", reply(call("lc_transfer_to_two", id="call_h1")), "Back with one, done.")
    rig.script("m2", reply(call("lc_transfer_to_one", id="call_h2")))
    edges = [
        {"from": "one", "to": "two", "edgeType": "handoff"},
        {"from": "two", "to": "one", "edgeType": "handoff"},
    ]
    graph = several(rig.agent("one", "m1", name="One"), rig.agent("two", "m2", name="Two"), edges=edges)
    run = await rig.create("run-f6", graph=graph, customHandlers=rig.handlers())
    await rig.process(run, human("ping pong"))


def opens(gate: Gate, text: str) -> Callable[[Any], None]:
    """Let one agent's model go on when another one has said `text`: the recordings kept this order by delays."""

    def look(delta: Any) -> None:
        if delta["delta"]["content"][0]["text"] == text:
            gate.open()

    return look


# g: pause and resume


def asking() -> HookRegistry:
    """Hooks that want every call to be approved."""

    async def ask(*_: Any) -> dict[str, str]:
        return {"decision": "ask", "reason": "needs approval"}

    registry = HookRegistry()
    registry.register("PreToolUse", {"hooks": [ask]})
    return registry


async def decide(rig: Rig, decision: dict[str, str]) -> None:
    rig.script("m", reply("Checking.", PARIS), "Finished.")
    run = await rig.create(
        "run-g",
        rig.agent("agent_g", toolDefinitions=DEFINITIONS),
        customHandlers=rig.handlers(on_execute=report_weather),
        hooks=asking(),
        humanInTheLoop={"enabled": True},
    )
    await rig.process(run, human("weather?"), key="paused")
    await rig.resume(run, [decision])


@scenario("g_interrupt_resume_approve")
async def g_a_person_approves(rig: Rig) -> None:
    await decide(rig, {"type": "approve"})


@scenario("g_interrupt_resume_reject")
async def g_a_person_rejects(rig: Rig) -> None:
    await decide(rig, {"type": "reject", "reason": "no way"})


@scenario("g_interrupt_resume_respond")
async def g_a_person_answers_instead(rig: Rig) -> None:
    await decide(rig, {"type": "respond", "responseText": "Human says rain."})


@scenario("g5_ask_user_question")
async def g5_a_tool_asks_the_user(rig: Rig) -> None:
    rig.script("m", reply(call("ask_user", id="call_1", q="Proceed?")), "Great.")
    agent = rig.agent("agent_g", tools=[ask_user])
    run = await rig.create("run-g5", agent, customHandlers=rig.handlers(), humanInTheLoop={"enabled": True})
    await rig.process(run, human("go"), key="paused")
    await rig.resume(run, {"answer": "yes"})


@scenario("g7_ask_without_hitl")
async def g7_nobody_can_be_asked(rig: Rig) -> None:
    rig.script("m", reply(PARIS), "Blocked then.")
    agent = rig.agent("agent_g", toolDefinitions=DEFINITIONS)
    run = await rig.create("run-g7", agent, customHandlers=rig.handlers(on_execute=answer_x), hooks=asking())
    await rig.process(run, human("weather?"))


# h: failures


@scenario("h_model_error_400")
async def h_the_provider_refuses(rig: Rig) -> None:
    rig.script("m", Failure(400, "bad request scripted"))
    run = await rig.create("run-h", rig.agent("agent_h"), customHandlers=rig.handlers())
    await rig.process(run, human("hi"))


@scenario("h2_model_error_midstream_drop")
async def h2_the_connection_breaks(rig: Rig) -> None:
    rig.script("m", reply("one two ", Drop()))
    run = await rig.create("run-h2", rig.agent("agent_h"), customHandlers=rig.handlers())
    await rig.process(run, human("hi"))


@scenario("h3_model_error_midstream_event")
async def h3_the_provider_fails_in_the_middle(rig: Rig) -> None:
    rig.script("m", reply("one two ", Fault("mid-stream scripted error")))
    run = await rig.create("run-h3", rig.agent("agent_h"), customHandlers=rig.handlers())
    await rig.process(run, human("hi"))


@scenario("h4_recursion_limit")
async def h4_the_model_never_stops_calling(rig: Rig) -> None:
    rig.script("m", *(reply(call("get_weather", id=f"call_{number}", city="A")) for number in range(1, 11)))
    run = await rig.create("run-h4", rig.agent("agent_h", tools=[get_weather]), customHandlers=rig.handlers())
    await rig.process(run, human("hi"), recursion_limit=5)


@scenario("h5_handler_throws")
async def h5_a_handler_raises(rig: Rig) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("handler threw")

    rig.script("m", "Hello there friend.")
    handlers = rig.handlers(after={"on_message_delta": fail})
    run = await rig.create("run-h5", rig.agent("agent_h"), customHandlers=handlers)
    await rig.process(run, human("hi"))


# i: abort and halt


@scenario("i_abort_midstream")
async def i_the_host_aborts(rig: Rig) -> None:
    controller = AbortController()
    words: list[Any] = []

    def count(delta: Any) -> None:
        words.append(delta)
        if len(words) == 3:
            controller.abort()

    # The recording left time for the abort between two words; here the model waits for it.
    never = Gate("the word after the abort")
    rig.script("m", reply("one two three ", Hold(never), "four five six seven eight"))
    run = await rig.create(
        "run-i", rig.agent("agent_i"), customHandlers=rig.handlers(after={"on_message_delta": count})
    )
    await rig.process(run, human("hi"), signal=controller.signal)


@scenario("i2_hook_halt")
async def i2_a_hook_ends_the_run(rig: Rig) -> None:
    async def halt(*_: Any) -> dict[str, Any]:
        return {"preventContinuation": True, "stopReason": "enough"}

    hooks = HookRegistry()
    hooks.register("PostToolUse", {"hooks": [halt]})
    rig.script("m", reply(PARIS), "never")
    agent = rig.agent("agent_i", toolDefinitions=DEFINITIONS)
    run = await rig.create("run-i2", agent, customHandlers=rig.handlers(on_execute=answer_x), hooks=hooks)
    await rig.process(run, human("hi"))


# j: trimming


def history() -> list[BaseMessage]:
    """Eight exchanges of some length, and a short question."""
    told: list[BaseMessage] = []
    for turn in range(8):
        told += [HumanMessage(f"question {turn} " + "x" * 120), AIMessage(f"answer {turn} " + "y" * 120)]
    return [*told, HumanMessage("latest question")]


def counting(messages: list[BaseMessage]) -> dict[str, Any]:
    """The part of a config that counts tokens."""
    counts = {index: count_tokens(message) for index, message in enumerate(messages)}
    return {"tokenCounter": count_tokens, "indexTokenCountMap": counts}


@scenario("j_prune_text")
async def j_old_messages_do_not_fit(rig: Rig) -> None:
    messages = history()
    rig.script("m", reply("Pruned answer.", usage=(150, 4)))
    agent = rig.agent("agent_j", maxContextTokens=200)
    run = await rig.create("run-j", agent, customHandlers=rig.handlers(), **counting(messages))
    rig.keep(inputCounts=counting(messages)["indexTokenCountMap"])
    await rig.process(run, messages)


@scenario("j3_nothing_fits")
async def j3_one_message_is_too_long(rig: Rig) -> None:
    messages = human("z" * 4000)
    agent = rig.agent("agent_j", maxContextTokens=100)
    run = await rig.create("run-j3", agent, customHandlers=rig.handlers(), **counting(messages))
    await rig.process(run, messages)


@scenario("j4_instructions_exceed_budget")
async def j4_the_instructions_are_too_long(rig: Rig) -> None:
    messages = human("hello")
    agent = rig.agent("agent_j", maxContextTokens=60, instructions="i" * 2000)
    run = await rig.create("run-j4", agent, customHandlers=rig.handlers(), **counting(messages))
    await rig.process(run, messages)


@scenario("j5_calibration_two_calls")
async def j5_usage_corrects_the_counts(rig: Rig) -> None:
    messages = human("weather in paris please")
    rome = call("get_weather", id="call_2", city="Rome")
    rig.script("m", reply(PARIS, usage=(400, 10)), reply(rome, usage=(500, 10)), reply("Done.", usage=(600, 3)))
    agent = rig.agent("agent_j", maxContextTokens=4000, tools=[get_weather])
    run = await rig.create("run-j5", agent, customHandlers=rig.handlers(), **counting(messages))
    await rig.process(run, messages)
    rig.keep(calib=run.get_calibration_ratio(), overhead=run.get_resolved_instruction_overhead())


# k: summaries


@scenario("k_summarization")
async def k_old_messages_are_summarised(rig: Rig) -> None:
    messages = history()
    rig.script("m", reply("After summary.", usage=(150, 4)))
    rig.script("m-sum", reply("A short summary of things.", usage=(300, 8)))
    summarising = {
        "provider": "openAI",
        "model": "m-sum",
        "parameters": {},
        "trigger": {"type": "token_ratio", "value": 0.6},
    }
    agent = rig.agent("agent_k", maxContextTokens=320, summarizationEnabled=True, summarizationConfig=summarising)
    run = await rig.create("run-k", agent, customHandlers=rig.handlers(), **counting(messages))
    await rig.process(run, messages)


# l: no handlers, and what cannot be created


@scenario("l_no_handlers_returnContent")
async def l_nobody_listens(rig: Rig) -> None:
    rig.script("m", reply("Hm.", PARIS), "It is sunny.")
    run = await rig.create("run-l", rig.agent("agent_l", tools=[get_weather]))
    await rig.process(run, human("hi"))


@scenario("l2_create_errors")
async def l2_what_cannot_be_created(rig: Rig) -> None:
    agent = rig.agent("x")
    astray = [{"from": "x", "to": "missing", "edgeType": "direct"}]
    refused = {
        "noRunId": {"graphConfig": {"agents": [agent]}},
        "noGraph": {"runId": "r"},
        "noAgents": {"runId": "r", "graphConfig": {"type": "standard", "agents": []}},
        "badEdge": {"runId": "r", "graphConfig": several(agent, edges=astray)},
        "multiNoAgents": {"runId": "r", "graphConfig": several(edges=[])},
    }
    for name, config in refused.items():
        try:
            await Run.create(config)
        except Exception as error:
            rig.keep(**{name: error})


# o: host tools without a handler


@scenario("o_event_driven_no_execute_handler")
async def o_nobody_executes_the_tools(rig: Rig) -> None:
    rig.script("m", reply(PARIS))
    agent = rig.agent("agent_o", toolDefinitions=DEFINITIONS)
    run = await rig.create("run-o", agent, customHandlers=rig.handlers(without=["on_tool_execute"]))
    await rig.process(run, human("hi"))


# p: system messages


@scenario("p_instructions_and_additional")
async def p_two_system_messages(rig: Rig) -> None:
    rig.script("m", "Ok.")
    agent = rig.agent("agent_p", instructions="Stable rules.", additional_instructions="Dynamic tail.")
    run = await rig.create("run-p", agent, customHandlers=rig.handlers())
    await rig.process(run, [SystemMessage("host system"), HumanMessage("hi")])


# q: title


@scenario("q_generate_title")
async def q_a_title(rig: Rig) -> None:
    rig.script("m", "Hello.")
    rig.script("m-title", "Friendly greeting")
    run = await rig.create("run-q", rig.agent("agent_q"), customHandlers=rig.handlers())
    await rig.process(run, human("hi"))
    title = await run.generate_title(
        provider="openAI",
        input_text="hi",
        content_parts=rig.aggregator.content_parts,
        title_method="completion",
        client_options=rig.client_options("m-title", streaming=False),
    )
    rig.keep(title=title)


# r: the eager flag


@scenario("r_eager_tool_execution")
async def r_the_eager_flag(rig: Rig) -> None:
    rome = call("get_weather", id="call_2", city="Rome")
    rig.script("m", reply(PARIS, rome, gap_s=0.025), "Done.")
    run = await rig.create(
        "run-r",
        rig.agent("agent_r", toolDefinitions=DEFINITIONS),
        customHandlers=rig.handlers(on_execute=report_weather),
        eagerEventToolExecution={"enabled": True},
    )
    await rig.process(run, human("hi"))
