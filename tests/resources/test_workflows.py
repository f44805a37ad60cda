"""Workflows as graphs: every kind of step, ways between them, waiting and going on."""

from __future__ import annotations

import asyncio

import pytest
import yaml
from langchain_core.runnables import RunnableLambda

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import NodeTimeoutError
from stategraph.resources.compile.workflows import plan as workflows
from stategraph.resources.errors import InvalidResource
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.types import Command

pytestmark = pytest.mark.anyio

RECIPES = """
inputs: {text: {type: string}}
state:
  ingredients: {type: array, items: {type: string}}
  recipes: {type: array, merge: append}
  failures: {type: array, merge: append}
initialStep: check
steps:
  - {id: check, agent: assistant, input: {messages: "${{ input.text }}"},
     output: {ingredients: "${{ result.structured.items }}"}, next: find}
  - {id: find, each: "${{ state.ingredients }}", maxConcurrency: 2, onError: settle, tool: {ref: cooking/finder},
     input: {q: "${{ item }}"}, output: {recipes: "${{ result }}"},
     errorOutput: {failures: "${{ error.step + string(error.index) + error.message }}"}, timeout: 20s, next: judge}
  - {id: judge, switch: [{when: "size(state.recipes) == 0", next: ask}, {next: END}]}
  - {id: ask, interrupt: {prompt: "Nothing found. Which cuisine?"}, output: {ingredients: "${{ [result.text] }}"},
     next: find}
"""


class Callee:
    """Something to be called that a test wrote."""

    def __init__(self, function):
        self.target = RunnableLambda(function)

    def prepared(self, given):
        return given

    def result(self, returned):
        return returned


def planned(text, functions=None, **callees):
    def lookup(kind, ref, path, *, several=False):
        return Callee(callees[ref.name])

    spec = WorkflowSpec.model_validate(yaml.safe_load(text))
    return workflows.plan("test", spec, lookup, functions or (lambda path, field: None))


def graph_of(text, functions=None, **callees):
    return planned(text, functions, **callees).graph(in_memory_saver())


def thread(name="1"):
    return {"configurable": {"thread_id": name}}


class Finder:
    """A tool that counts how many of its calls go on at once."""

    def __init__(self):
        self.running = self.most = 0

    async def __call__(self, given):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.running -= 1
        if given["q"] == "bad":
            raise ValueError("no")
        return ["soup of " + given["q"]]


async def test_items_run_side_by_side_within_their_limit_and_failures_settle():
    finder = Finder()
    items = ["a", "b", "bad", "c", "d"]
    graph = graph_of(RECIPES, assistant=lambda given: {"structured": {"items": items}}, finder=finder.__call__)
    state = await graph.ainvoke({"text": "soup"}, thread())
    assert state["recipes"] == ["soup of a", "soup of b", "soup of c", "soup of d"]
    assert state["failures"] == ["find2no"]
    assert finder.most == 2


async def test_a_cycle_through_a_question_ends_when_it_is_answered():
    graph = graph_of(RECIPES, assistant=lambda given: {"structured": {"items": []}}, finder=Finder().__call__)
    state = await graph.ainvoke({"text": "soup"}, thread())
    (waiting,) = state["__interrupt__"]
    assert waiting.value["question"] == {"question": "Nothing found. Which cuisine?"}
    state = await graph.ainvoke(Command(resume="thai"), thread())
    assert state == {"ingredients": ["thai"], "recipes": ["soup of thai"], "failures": []}


def test_a_sync_run_does_the_same():
    text = RECIPES.replace(", timeout: 20s", "")
    graph = graph_of(text, assistant=lambda g: {"structured": {"items": ["a"]}}, finder=lambda g: ["x" + g["q"]])
    assert graph.invoke({"text": "t"}, thread())["recipes"] == ["xa"]


async def test_without_settle_a_failed_item_fails_the_run():
    text = (
        RECIPES.replace("onError: settle, ", "")
        .replace("errorOutput", "output2")
        .replace('output2: {failures: "${{ error.step + string(error.index) + error.message }}"}, ', "")
    )
    graph = graph_of(text, assistant=lambda g: {"structured": {"items": ["bad"]}}, finder=Finder().__call__)
    with pytest.raises(ValueError, match="no"):
        await graph.ainvoke({"text": "t"}, thread())


async def test_an_item_that_takes_too_long_is_stopped_and_settles():
    async def slow(given):
        await asyncio.sleep(60)

    text = RECIPES.replace("20s", "10ms")
    graph = graph_of(text, assistant=lambda g: {"structured": {"items": ["a"]}}, finder=slow)
    await graph.ainvoke({"text": "t"}, thread())
    failures = (await graph.aget_state(thread())).values["failures"]
    assert len(failures) == 1
    assert failures[0].startswith("find0")
    assert NodeTimeoutError.__name__ not in failures[0]


async def test_a_step_is_repeated_as_its_retry_says():
    calls = []

    def flaky(given):
        calls.append(given)
        if len(calls) < 3:
            raise ConnectionError("away")
        return "there"

    text = """
    state: {found: {}}
    steps:
      - {id: a, tool: flaky, input: {x: 1}, output: {found: "${{ result }}"},
         retry: {max: 3, backoff: 1ms, jitter: false}}
    """
    assert await graph_of(text, flaky=flaky).ainvoke({"input": None}, thread()) == {"found": "there"}
    assert len(calls) == 3


async def test_steps_beside_each_other_meet_where_both_are_waited_for():
    text = """
    state: {seen: {type: array, merge: append}, total: {}}
    steps:
      - {id: begin, set: {seen: begin}, next: [left, right]}
      - {id: left, set: {seen: left}}
      - {id: right, set: {seen: right}, next: far}
      - {id: far, set: {seen: far}}
      - {id: join, set: {total: "${{ size(state.seen) }}"}, after: [left, far]}
    """
    assert await graph_of(text).ainvoke({"input": 1}, thread()) == {
        "seen": ["begin", "left", "right", "far"],
        "total": 4,
    }


async def test_the_result_of_the_step_before_is_the_input_of_the_next():
    asked = []

    def answer(given):
        asked.append(given)
        return f"{given}!"

    text = "steps: [{id: a, agent: one, next: b}, {id: b, agent: one, next: c}, {id: c, tool: one}]"
    assert await graph_of(text, one=answer).ainvoke({"input": "x"}, thread()) == {"last": "x!!!"}
    assert asked == ["x", "x!", "x!!"]


async def test_results_of_earlier_steps_are_read_by_their_ids():
    text = """
    state: {both: {}}
    steps:
      - {id: first, tool: one, input: "${{ input }}", next: second}
      - {id: second, tool: one, input: "b", next: third}
      - {id: third, set: {both: "${{ steps.first + steps['second'] }}"}}
    """
    graph = graph_of(text, one=lambda given: given + "!")
    assert await graph.ainvoke({"input": "a"}, thread()) == {"both": "a!b!"}


async def test_an_approval_is_read_as_true_or_false():
    text = """
    state: {paid: {}}
    steps:
      - {id: ask, interrupt: {type: approval, prompt: "Pay ${{ input.sum }}?", data: "${{ input }}"},
         output: {paid: "${{ result.approved }}"}}
    """
    graph = graph_of(text)
    state = await graph.ainvoke({"input": {"sum": 3}}, thread())
    assert state["__interrupt__"][0].value == {
        "type": "approval",
        "prompt": "Pay 3?",
        "data": {"sum": 3},
        "step": "ask",
    }
    assert await graph.ainvoke(Command(resume={"approved": False}), thread()) == {"paid": False}
    await graph.ainvoke({"input": {"sum": 3}}, thread("2"))
    assert await graph.ainvoke(Command(resume=True), thread("2")) == {"paid": True}


async def test_a_function_of_the_state_is_a_node():
    def double(state):
        return {"n": state["n"] * 2}

    text = "{inputs: {n: {type: integer}}, state: {n: {type: integer}}, steps: [{id: d, node: 'app:double'}]}"
    graph = graph_of(text, lambda path, field: double)
    assert await graph.ainvoke({"n": 4}, thread()) == {"n": 8}


async def test_defaults_are_read_where_nothing_was_written():
    text = """
    inputs: {n: {type: integer, default: 2}}
    state: {limit: {type: integer, default: 5}, sum: {type: integer, merge: add}}
    steps: [{id: a, set: {sum: "${{ state.limit + input.n }}"}}]
    """
    assert (await graph_of(text).ainvoke({}, thread()))["sum"] == 7


async def test_two_each_steps_one_after_the_other():
    text = """
    state: {a: {type: array, merge: append}, b: {type: array, merge: append}}
    steps:
      - {id: first, each: [1, 2], tool: t, input: "${{ item }}", output: {a: "${{ result }}"}, next: second}
      - {id: second, each: "${{ state.a }}", as: one, tool: t, input: "${{ one }}",
         output: {b: "${{ [result, index] }}"}}
    """
    state = await graph_of(text, t=lambda given: given + 10).ainvoke({"input": None}, thread())
    assert state == {"a": [11, 12], "b": [21, 0, 22, 1]}


PROBLEMS = {
    "an unknown step": ("steps: [{id: a, set: {}, next: b}, {id: bb, set: {}}]", "steps[0].next", "did you mean 'bb'"),
    "an id used twice": ("steps: [{id: a, set: {}}, {id: a, set: {}}]", "steps[1].id", "used twice"),
    "no way to it": ("steps: [{id: a, set: {}}, {id: b, set: {}}]", "steps[1]", "add 'next: b' to 'a'"),
    "an unknown field": ("steps: [{id: a, set: {x: 1}}]", "steps[0].set.x", "declare it in 'state'"),
    "an unknown field read": (
        "{state: {item: {}}, steps: [{id: a, set: {item: '${{ state.itm }}'}}]}",
        "steps[0].set",
        "did you mean 'item'",
    ),
    "no expression": (
        "{state: {a: {}}, steps: [{id: a, set: {a: '${{ a +'}}]}",
        "steps[0].set",
        "`}}` is missing",
    ),
    "a switch that may not choose": (
        "steps: [{id: s, switch: [{when: 'true', next: END}]}]",
        "steps[0].switch",
        "add {next: END}",
    ),
    "a switch without an end": (
        "steps: [{id: s, switch: [{when: 'true', next: END}, {next: s}]}]",
        "steps[0].switch",
        "never ends",
    ),
    "each without a call": ("{state: {a: {}}, steps: [{id: a, set: {a: 1}, each: [1]}]}", "steps[0].each", "only"),
    "an unknown output": ("{outputs: [x], state: {y: {}}, steps: [{id: a, set: {y: 1}}]}", "outputs.x", "expected"),
    "an unknown result": (
        "{state: {y: {}}, steps: [{id: a, set: {y: '${{ steps.b }}'}}]}",
        "steps[0].set",
        "no step of this id",
    ),
    "a reserved field": ("{state: {last: {}}, steps: [{id: a, set: {last: 1}}]}", "state.last", "the step before"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_makes_no_sense_is_told_with_its_field(name):
    text, field, message = PROBLEMS[name]
    with pytest.raises(InvalidResource) as caught:
        planned(text, t=lambda given: given)
    told = str(caught.value)
    assert f"spec.{field}" in told
    assert message in told


def test_versions_are_of_what_is_executed():
    first = planned("{description: x, steps: [{id: a, set: {}}]}")
    same = planned("{description: y, name: z, steps: [{id: a, set: {}, next: END}]}")
    other = planned("{steps: [{id: b, set: {}}]}")
    assert first.version == same.version != other.version
