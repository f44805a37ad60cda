"""Steps of workflows as nodes of a graph.

A node reads the state, evaluates its input, does its work, and evaluates what it writes with the `result`. Each is one
object with a sync and an async form; what both do before and after the work is one method.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import get_runtime
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import ConfigurationError, GraphBubbleUp, NodeTimeoutError
from stategraph.resources.compile import expr
from stategraph.resources.compile.calls import Callee, Invoke, Procedure, node
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.compile.workflows.gates import Gates
from stategraph.resources.compile.workflows.state import LAST, STEPS, Names
from stategraph.resources.kinds.workflow import Step
from stategraph.run import questions

_NOTHING: Final[Object] = {}

EMPTY: Final = "__empty__"
"""The key of what a node of an `each` step is sent when there are no items."""


Sent: TypeAlias = Fields
"""One item of an `each` step: `item`, `index`, and `scope`, the parts of the state that its expressions read."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Writes of a step to the state when it has ended.

    Attributes:
        step: Its id.
        names: What the workflow keeps.
        output: The fields that it writes.
        reads: What these read of the state.
        whole: The fields, if each is given the result as it is and nothing else is kept; None: it has to be evaluated.
    """

    step: str
    names: Names
    output: Mapping[str, expr.Template] = field(default_factory=dict)
    reads: expr.Reads = field(default_factory=dict)
    whole: tuple[str, ...] | None = None

    @classmethod
    def of(cls, step: Step, names: Names, variables: frozenset[str]) -> Writes:
        """Compile what a step writes.

        Args:
            step: The step.
            names: What the workflow keeps.
            variables: The names that its expressions may use.
        """
        output = {
            name: expr.template(written, variables, f"step '{step.id}', output.{name}")
            for name, written in (step.output or {}).items()
        }
        reads = expr.together([each.reads for each in output.values()])
        keeps = names.keeps_last or step.id in names.records
        is_whole = not keeps and all(each.path == ("result",) for each in output.values())
        return cls(step.id, names, output, reads, tuple(output) if is_whole else None)

    def update(self, scope: Fields, result: Data, *, keeps: bool = True) -> Object:
        """Return the update of the state.

        Args:
            scope: What expressions may read beside the result.
            result: The result of the step.
            keeps: Whether the result itself is kept where later steps may ask for it.
        """
        seen = {**scope, "result": result}
        update = {name: template.value(seen) for name, template in self.output.items()}
        if keeps and self.names.keeps_last:
            update[LAST] = result
        if keeps and self.step in self.names.records:
            update[STEPS] = {self.step: result}
        return update


class Node:
    """A step as a node of a graph.

    Attributes:
        step: The step.
        names: What the workflow keeps.
    """

    def __init__(self, step: Step, names: Names) -> None:
        self.step = step
        self.names = names

    @property
    def id(self) -> str:
        """Its name in the graph."""
        return self.step.id

    def runnable(self) -> RunnableCallable:
        """Return it as a graph takes it."""

        async def aupdate(state: Data) -> Data:
            return self.update(state)

        return StepRunnable(self, RunnableCallable(self.update, aupdate, name=self.id, trace=False))

    def update(self, state: Data) -> Data:
        """Return the update of the state by a step that calls nothing."""
        raise NotImplementedError


class StepRunnable(RunnableCallable):
    """A step as a graph has it.

    Attributes:
        node: The step.
    """

    def __init__(self, node: Node, made: RunnableCallable) -> None:
        super().__init__(made.func, made.afunc, name=made.name, trace=False)
        self.node = node


class DoneNode(Node):
    """Runs once when all items of an `each` step have ended, so that a way is chosen by what all of them wrote."""

    @property
    def id(self) -> str:
        """Its name in the graph."""
        return f"{self.step.id}_done"

    def update(self, state: Data) -> Data:
        """Change nothing."""
        return {}


class SetNode(Node):
    """Sets fields of the state."""

    def __init__(self, step: Step, names: Names) -> None:
        super().__init__(step, names)
        self._values = {
            name: expr.template(written, names.variables, f"step '{step.id}', set.{name}")
            for name, written in (step.set or {}).items()
        }
        self._roots = tuple(expr.together([each.reads for each in self._values.values()]))

    def update(self, state: Data) -> Data:
        """Return the new values."""
        scope = self.names.scope(state, self._roots)
        return {name: template.value(scope) for name, template in self._values.items()}


class AskNode(Node):
    """Asks a person, and waits for the answer."""

    def __init__(self, step: Step, names: Names) -> None:
        super().__init__(step, names)
        asked = step.interrupt
        assert asked is not None
        self._type = asked.type
        self._prompt = expr.template(asked.prompt, names.variables, f"step '{step.id}', interrupt.prompt")
        self._data = expr.template(asked.data, names.variables, f"step '{step.id}', interrupt.data")
        self._options = asked.options
        self._writes = Writes.of(step, names, names.variables | {"result"})
        self._roots = tuple(expr.together([self._prompt.reads, self._data.reads, self._writes.reads]))

    def update(self, state: Data) -> Data:
        """Return the update of the answer; pauses the run before there is one."""
        scope = self.names.scope(state, self._roots)
        prompt, data = self._prompt.value(scope), self._data.value(scope)
        if self._type == "question":
            question: Object = {"question": prompt if isinstance(prompt, str) else "?"}
            if self._options:
                question["options"] = [_option(each) for each in self._options]
            if data is not None:
                question["description"] = data if isinstance(data, str) else json.dumps(expr.plain(data))
            answer: Data = questions.ask_user_question(question)["answer"]
        else:
            payload = {"type": self._type, "prompt": prompt, "data": expr.plain(data), "step": self.step.id}
            answer = interrupt({key: value for key, value in payload.items() if value is not None})
        return self._writes.update(scope, answered(self._type, answer))


def _option(given: str | Mapping[str, str]) -> dict[str, str]:
    return {"label": given, "value": given} if isinstance(given, str) else dict(given)


def answered(type: str, answer: Data) -> Object:
    """Return an answer as expressions read it: `text`, `value`, for an approval `approved`, and its own fields."""
    own = dict(answer) if isinstance(answer, Mapping) else {}
    text = answer if isinstance(answer, str) else own.get("text", json.dumps(expr.plain(answer), ensure_ascii=False))
    result = {"value": answer, "text": text, **own}
    if type == "approval" and not isinstance(result.get("approved"), bool):
        result["approved"] = answer is True or str(answer).strip().lower() in ("approve", "approved", "yes", "true")
    return result


class CallNode(Node):
    """Calls a tool, an agent, a workflow or a network.

    Args:
        step: The step.
        names: What the workflow keeps.
        callee: What is called.
    """

    def __init__(self, step: Step, names: Names, callee: Callee) -> None:
        super().__init__(step, names)
        self.callee = callee
        variables = names.variables
        self._given = None if step.input is None else expr.template(step.input, variables, f"step '{step.id}', input")
        self._writes = Writes.of(step, names, variables | {"result"})
        reads = expr.together([self._given.reads if self._given else {}, self._writes.reads])
        self._roots = tuple(name for name in reads if name != "result")

        whole, field = self._writes.whole, None if self._given is None else names.field_of(self._given.path)
        #: The field that is the input, where nothing else is read: then a call needs no scope.
        self._field = field if whole is not None else None

    def _begin(self, state: Data) -> tuple[Object, Any]:
        if self._field is not None and self._field in state:
            return _NOTHING, state[self._field]
        scope = self.names.scope(state, self._roots)
        if self._given is not None:
            return scope, self._given.value(scope)
        return scope, state[LAST] if LAST in state else self.names.input_of(state)

    def _end(self, scope: Fields, returned: Data) -> Object:
        result = self.callee.result(returned)
        whole = self._writes.whole
        return self._writes.update(scope, result) if whole is None else dict.fromkeys(whole, result)

    def runnable(self) -> RunnableCallable:
        """Return it as a graph takes it.

        Both forms are written out: a procedure in between costs as much as all of the rest that is not the call.
        """
        callee, begin, end = self.callee, self._begin, self._end

        def run(state: Data) -> Data:
            scope, given = begin(state)
            return end(scope, callee.target.invoke(callee.prepared(given)))

        async def arun(state: Data) -> Data:
            scope, given = begin(state)
            return end(scope, await callee.target.ainvoke(callee.prepared(given)))

        return StepRunnable(self, RunnableCallable(run, arun, name=self.id, trace=False))


@dataclass(frozen=True, slots=True)
class InTurn:
    """A request of an item of an `each` step: invoke something when it is its turn.

    Attributes:
        call: The call.
        step: The step.
        timeout_s: Seconds that the call may take; None: any time.
        gates: How many may be made at once; None: all.
    """

    call: Invoke
    step: Step
    timeout_s: float | None
    gates: Gates | None

    def in_thread(self) -> Data:
        """Return what the call returns."""
        if self.timeout_s is not None:
            raise ConfigurationError(
                f"step '{self.step.id}' has a timeout, which needs an async run: use ainvoke, or leave it out"
            )
        with nullcontext() if self.gates is None else self.gates.in_thread(_run_now()):
            return self.call.in_thread()

    async def in_loop(self) -> Data:
        """Return what the call returns, within the time limit, which does not count the wait for its turn."""
        async with nullcontext() if self.gates is None else self.gates.in_loop(_run_now()):
            limit, began = self.timeout_s, time.monotonic()
            try:
                async with asyncio.timeout(limit) as window:
                    return await self.call.in_loop()
            except TimeoutError:
                if not window.expired():
                    raise
        raise NodeTimeoutError(self.step.id, time.monotonic() - began, kind="run", run_timeout=limit)


class EachNode(Node):
    """Calls something for one item of a list; what it is sent is one item and what its expressions read.

    Args:
        step: The step.
        names: What the workflow keeps.
        callee: What is called.
    """

    def __init__(self, step: Step, names: Names, callee: Callee) -> None:
        super().__init__(step, names)
        self.callee = callee
        self.item = step.as_ or "item"
        variables = names.variables | {self.item, "index"}
        place = f"step '{step.id}'"
        self._given = None if step.input is None else expr.template(step.input, variables, f"{place}, input")
        self._writes = Writes.of(step, names, variables | {"result"})
        self._failures = {
            name: expr.template(written, variables | {"error"}, f"{place}, errorOutput.{name}")
            for name, written in (step.error_output or {}).items()
        }
        own = {self.item, "index", "result", "error"}
        reads = expr.together(
            [
                self._given.reads if self._given else {},
                self._writes.reads,
                *(each.reads for each in self._failures.values()),
            ]
        )
        #: What the node reads of the state, and is sent with its item.
        self.reading = expr.Reading({name: fields for name, fields in reads.items() if name not in own})
        limits = getattr(callee, "policy", None)
        self._timeout_s = step.timeout or (None if limits is None else limits.timeout_s)
        self._gates = None if step.max_concurrency is None else Gates(step.max_concurrency)

    def _begin(self, sent: Sent) -> tuple[Object, Any]:
        scope = {**sent["scope"], self.item: sent["item"], "index": sent["index"]}
        return scope, sent["item"] if self._given is None else self._given.value(scope)

    def runnable(self) -> RunnableCallable:
        """Return it as a graph takes it."""
        return StepRunnable(self, node(self.steps, self.id))

    def _failed(self, sent: Sent, error: Exception) -> Object:
        """Return the update of an item that failed; raise the error if it fails the workflow."""
        if self.step.on_error == "fail":
            raise error
        told = {"step": self.step.id, "index": sent["index"], "type": type(error).__name__, "message": str(error)}
        scope = {**sent["scope"], self.item: sent["item"], "index": sent["index"], "error": told}
        return {name: template.value(scope) for name, template in self._failures.items()}

    def steps(self, state: Data) -> Procedure:
        """Call it for one item and return the update of its result."""
        if EMPTY in state:
            return {}
        callee = self.callee
        try:
            scope, given = self._begin(state)
            call = Invoke(callee.target, callee.prepared(given))
            result = callee.result((yield InTurn(call, self.step, self._timeout_s, self._gates)))
            return self._writes.update(scope, result, keeps=False)
        except GraphBubbleUp:
            raise
        except Exception as error:
            return self._failed(state, error)


def _run_now() -> tuple[Data, ...]:
    """Return what tells the run of a task from others: the switch of its run, the graph around it, and its step."""
    metadata = get_config().get("metadata") or {}
    around = str(metadata.get("langgraph_checkpoint_ns", "")).rpartition("|")[0]
    return (id(get_runtime().control), around, metadata.get("langgraph_step"))


def items_of(found: Data, place: str) -> Sequence[Data]:
    """Return the items that an `each` step goes over.

    Raises:
        ExpressionError: It is no list.
    """
    if isinstance(found, Sequence) and not isinstance(found, str | bytes):
        return found
    raise expr.ExpressionError(place, "each", f"is {type(found).__name__}; expected a list")
