"""Generated output types held against scripted models, in each mode: the measure of `make typed-output`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from langchain_core.messages import AIMessage

from stategraph.agent.output.errors import OutputError
from stategraph.agent.output.output_type import OutputType
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.output import generated
from tests.agent.output.generated import Case

Mode = Literal["native", "tool", "prompt"]
Behaviour = Literal["right", "wrong once", "wrong always"]

MODES: tuple[Mode, ...] = ("native", "tool", "prompt")
BEHAVIOURS: tuple[Behaviour, ...] = ("right", "wrong once", "wrong always")
RETRIES = 2


@dataclass(frozen=True)
class Outcome:
    """What came of a turn."""

    output: Any
    error: OutputError | None
    requests: list[Any]
    messages: list[Any]


def answer(case: Case, mode: Mode, member: int, value: Any, random: Random) -> script.Reply:
    """The answer of a model that gives a value of a member, as its mode wants it."""
    kind = OutputType(_members(case)).members[member]
    given = value if case.members[member].is_object else {"value": value}
    if mode == "tool":
        return script.reply(script.call(kind.tool, given, id=f"call_{random.random()}"))
    if len(case.members) > 1:
        given = {"kind": kind.name, "value": value}
    text = json.dumps(given)
    if mode == "prompt":
        text = random.choice([text, f"```json\n{text}\n```", f"Here it is:\n\n```\n{text}\n```"])
    return script.reply(text)


def _members(case: Case) -> Any:
    return case.output_type if isinstance(case.output_type, list) else [case.output_type]


def wrong(case: Case, mode: Mode, random: Random) -> script.Reply:
    """An answer that does not fit."""
    member = random.randrange(len(case.members))
    if random.random() < 0.25:
        if mode == "tool":
            tool = OutputType(_members(case)).members[member].tool
            return script.reply(script.call(tool, '{"broken": ', id=f"call_{random.random()}"))
        return script.reply(random.choice(['{"broken": ', "I would rather not."]))
    return answer(case, mode, member, case.members[member].invalid(random), random)


def play(case: Case, mode: Mode, behaviour: Behaviour, seed: int) -> tuple[Outcome, Any, int]:
    """Let a model answer; return what came of it, the output that is due, and how many answers it took."""
    random = Random(f"{seed}:{case.number}:{mode}:{behaviour}")
    member = random.randrange(len(case.members))
    value = case.members[member].valid(random)
    bad = {"right": 0, "wrong once": 1, "wrong always": RETRIES + 1}[behaviour]
    replies = [wrong(case, mode, random) for _ in range(bad)]
    replies.append(answer(case, mode, member, value, random))
    model = ScriptedChatModel(replies=replies)
    outcome = asyncio.run(_run(case, mode, model, sync=random.random() < 0.3))
    return outcome, case.members[member].python(value), min(bad + 1, RETRIES + 1)


async def _run(case: Case, mode: Mode, model: ScriptedChatModel, *, sync: bool) -> Outcome:
    agent = {"agent_id": "a", "model": model, "output_type": case.output_type, "output_mode": mode}
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [{**agent, "output_retries": RETRIES}]}})
    output: Any = None
    error = None
    messages: list[Any] = []
    try:
        if sync:
            messages = run.graph.compiled.invoke({"messages": [("user", "go")]})["messages"]
            output = run.graph.get_output(messages)
        else:
            await run.process_stream({"messages": [("user", "go")]})
            messages, output = run.get_run_messages(), run.output
    except OutputError as raised:
        error = raised
    return Outcome(output, error, list(model.requests), messages)


def check(case: Case, mode: Mode, behaviour: Behaviour, seed: int) -> None:
    """Hold what comes of a turn against what is due."""
    outcome, due, tries = play(case, mode, behaviour, seed)
    where = f"case {case.number} of seed {seed}, {mode}, {behaviour}: {case.output_type!r}"
    assert len(outcome.requests) == tries, f"{where}: {len(outcome.requests)} answers, expected {tries}"
    if behaviour == "wrong always":
        error = outcome.error
        assert error is not None, f"{where}: no error, but {outcome.output!r}"
        assert (error.agent_id, error.tries) == ("a", tries), where
        assert isinstance(error.answer, AIMessage) and error.problems, where
    else:
        assert outcome.error is None, f"{where}: {outcome.error}"
        assert type(outcome.output) is type(due) and outcome.output == due, f"{where}: {outcome.output!r} != {due!r}"
    if tries > 1:
        told = outcome.requests[1].messages[-1].content
        assert "does not fit" in told and "\n- " in told, f"{where}: the model was told {told!r}"


def main(count: int, seed: int) -> int:
    """Check so many types; print how many turns were as they have to be."""
    began, failures, turns = time.monotonic(), [], 0
    for number in range(count):
        case = generated.case(seed, number)
        for mode in MODES:
            for behaviour in BEHAVIOURS:
                turns += 1
                try:
                    check(case, mode, behaviour, seed)
                except AssertionError as error:
                    failures.append(str(error))
    for each in failures[:20]:
        print(each)
    print(
        f"typed output: {turns - len(failures)} of {turns} turns ({count} types x {len(MODES)} modes x "
        f"{len(BEHAVIOURS)} models) in {time.monotonic() - began:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
