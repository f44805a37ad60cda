"""The model of an agent: with its tools bound to it, chosen for each call, asked.

A model is given, named, or chosen by a function of the state and the runtime. It is asked with a prompt in front of it:
as one sequence where callback handlers listen or LangChain does more on the way than to ask, and directly elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.tools import BaseTool

from stategraph.agent.invocation.direct import DirectModel, taped
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.prebuilt.agent_state import State
from stategraph.prebuilt.injection import AnyRuntime
from stategraph.prebuilt.prompts import PromptStep
from stategraph.prebuilt.steps import Step, Steps


class AgentModel:
    """The model of an agent, with the prompt in front of it.

    Args:
        model: A model, the name of one (`"<provider>:<model>"`, which needs langchain), or a function of the state and
            the runtime that returns one; it may be async.
        prompt: The prompt.
        tools: The agent's tools, which are bound to a model that has none.
        builtin: Tools of the provider.

    Raises:
        ImportError: The model is given by its name, and langchain is not installed.
        ValueError: Other tools than the agent's are bound to the model.
    """

    def __init__(
        self, model: Any, prompt: object, tools: Sequence[BaseTool], builtin: Sequence[dict[str, object]]
    ) -> None:
        self._prompt = PromptStep(prompt)
        self._choose = model if not isinstance(model, str | Runnable) and callable(model) else None
        self._chooses_async = self._choose is not None and inspect.iscoroutinefunction(model)
        if self._choose is not None:
            return
        if isinstance(model, str):
            model = _by_name(model)
        bound = [*tools, *builtin]
        if wants_tools(model, tools, len(builtin)) and bound:
            model = model.bind_tools(bound)
        self._model: AnyRunnable = model
        self._sequence: AnyRunnable = self._prompt.runnable | model

    def refuse_sync(self) -> None:
        """Refuse a sync call if the model is chosen by an async function.

        Raises:
            RuntimeError: It is.
        """
        if self._chooses_async:
            raise RuntimeError(
                "Async model callable provided but agent invoked synchronously. Use agent.ainvoke() or "
                "agent.astream(), or provide a sync model callable."
            )

    def asking(self, state: State, runtime: AnyRuntime, config: RunnableConfig) -> Steps[Any]:
        """Ask the model; the result is its answer.

        Args:
            state: The state of the agent.
            runtime: Of the node.
            config: Of the node.
        """
        chosen = yield from self._choosing(state, runtime)
        model = taped(chosen)
        direct = self._direct(model, config)
        if direct is not None:
            given = yield from self._prompt.applying(state, config)
            return (yield Step(partial(direct.ask, given, config), partial(direct.aask, given, config)))
        as_made = self._choose is None and model is chosen
        sequence = self._sequence if as_made else self._prompt.runnable | model
        return (yield Step(partial(sequence.invoke, state, config), partial(sequence.ainvoke, state, config)))

    def choosing_chat_model(self, state: State, runtime: AnyRuntime) -> Steps[BaseChatModel]:
        """Find the chat model for a structured answer: without prompt and tools.

        Raises:
            TypeError: There is none.
        """
        return unwrapped(taped((yield from self._choosing(state, runtime))))

    def _choosing(self, state: State, runtime: AnyRuntime) -> Steps[Any]:
        choose = self._choose
        if choose is None:
            return self._model

        async def achoose() -> Any:
            choice = choose(state, runtime)
            return await choice if self._chooses_async else choice

        return (yield Step(partial(choose, state, runtime), achoose))

    def _direct(self, model: Any, config: RunnableConfig) -> DirectModel | None:
        """Return the model to ask directly; None if somebody could notice, also of the prompt."""
        return DirectModel.of(model, config) if self._prompt.is_function else None


def _by_name(name: str) -> BaseChatModel:
    try:
        models = import_module("langchain.chat_models")
    except ImportError:
        raise ImportError(
            "Please install langchain (`pip install langchain`) to use '<provider>:<model>' string syntax for "
            "`model` parameter."
        ) from None
    return cast("BaseChatModel", models.init_chat_model(name))


def _step_with_model(model: object) -> object:
    """Return the step of a sequence that is a model; what is none as it is."""
    if not isinstance(model, RunnableSequence):
        return model
    return next((step for step in model.steps if isinstance(step, RunnableBinding | BaseChatModel)), model)


def wants_tools(model: object, tools: Sequence[BaseTool], num_builtin: int = 0) -> bool:
    """Return whether tools are yet to be bound to a model.

    Args:
        model: A model, or a sequence with one in it.
        tools: The tools.
        num_builtin: How many tools of the provider come with them.

    Raises:
        ValueError: Others are bound to it.
    """
    model = _step_with_model(model)
    if not isinstance(model, RunnableBinding) or "tools" not in model.kwargs:
        return True
    bound = model.kwargs["tools"]
    expected = len(bound) - num_builtin
    if len(tools) != expected:
        raise ValueError(
            "Number of tools in the model.bind_tools() and tools passed to create_react_agent must match"
            f" Got {len(tools)} tools, expected {expected}"
        )
    missing = {tool.name for tool in tools} - {_name_of(each) for each in bound}
    if missing:
        raise ValueError(f"Missing tools '{missing}' in the model.bind_tools()")
    return False


def _name_of(bound: Mapping[str, Any]) -> str | None:
    """Return the name of a tool as providers write it; None for one of an unknown form."""
    if bound.get("type") == "function":
        return cast("str", bound["function"]["name"])
    return bound.get("name") or None


def unwrapped(model: object) -> BaseChatModel:
    """Return the chat model in a sequence or a binding.

    Raises:
        TypeError: There is none.
    """
    model = _step_with_model(model)
    if isinstance(model, RunnableBinding):
        model = model.bound
    if not isinstance(model, BaseChatModel):
        raise TypeError(
            f"Expected `model` to be a ChatModel or RunnableBinding (e.g. model.bind_tools(...)), got {type(model)}"
        )
    return model
