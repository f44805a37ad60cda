"""Typed output of runs in workers: types go there by their import path, and come back as the host's own."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.agent.output.errors import OutputError
from stategraph.errors import TransferError
from tests.workers.agents import Invoice, Refusal, agent
from tests.workers.test_runtime import ASK, INLINE, PROCESS, THREAD, Settings, all_of, run

MODES = pytest.mark.parametrize("backend", [INLINE, {"backend": "thread", "workers": 1}, PROCESS], ids=str)


def final(args: Any, name: str = "final_answer") -> Any:
    return "", (name, args)


@MODES
def test_a_type_goes_to_the_worker_and_its_output_comes_back(backend: Settings) -> None:
    async def work(runtime: Any) -> None:
        given = agent(final({"total": "much"}), final({"total": 3}), output_type=Invoice)
        created = await runtime.create_run(run_id="r", agents=[given])
        partial: list[Any] = []
        created.handler_registry.register("on_output_delta", lambda *_: partial.append(created.partial_output))
        events = await all_of(created.stream(ASK, THREAD))
        assert created.output == Invoice(total=3)
        assert created.outputs == {"a": Invoice(total=3)}
        assert partial[-1] == {"total": 3}
        assert created.partial_output is None
        names = [each.event for each in events if each.event.startswith("on_output")]
        assert names[-1] == "on_output"
        assert names.count("on_output_refused") == 1

    run(work, backend)


@pytest.mark.parametrize(
    ("output_type", "reply", "due"),
    [
        (Invoice | Refusal, final({"reason": "no"}, "final_answer_Refusal"), Refusal("no")),
        ("tests.workers.agents:Totals", final({"value": [{"total": 1}]}), [Invoice(total=1)]),
        ({"type": "object", "required": ["a"]}, final({"a": 1}), {"a": 1}),
        (int, final({"value": 7}), 7),
        (["tests.workers.agents:Invoice", str], "Nothing.", "Nothing."),
    ],
    ids=["union", "path", "schema", "scalar", "list"],
)
def test_types_of_every_form_go_there(output_type: Any, reply: Any, due: Any) -> None:
    async def work(runtime: Any) -> None:
        created = await runtime.create_run(run_id="r", agents=[agent(reply, output_type=output_type)])
        await created.process_stream(ASK)
        assert created.output == due

    run(work, PROCESS)


def test_the_error_comes_back_with_what_it_holds() -> None:
    async def work(runtime: Any) -> None:
        given = agent(final({"total": "much"}), output_type=Invoice, output_retries=0)
        created = await runtime.create_run(run_id="r", agents=[given])
        with pytest.raises(OutputError, match="Agent 'a' gave no output") as caught:
            await created.process_stream(ASK)
        assert caught.value.tries == 1
        assert caught.value.answer is not None
        assert caught.value.answer.tool_calls[0]["args"] == {"total": "much"}

    run(work, PROCESS)


def test_a_type_without_an_import_path_is_refused_in_a_sentence() -> None:
    class Local(Invoice):
        pass

    async def work(runtime: Any) -> None:
        with pytest.raises(TransferError, match="defined inside the function"):
            await runtime.create_run(run_id="r", agents=[agent("x", output_type=Local)])
        with pytest.raises(TransferError, match=r"list.* of agent 'a' .* has no import path"):
            await runtime.create_run(run_id="r", agents=[agent("x", output_type=list[Invoice])])

    run(work, INLINE)
