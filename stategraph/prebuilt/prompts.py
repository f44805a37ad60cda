"""A prompt in front of a model: how the state of an agent becomes what the model is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.prebuilt.agent_state import State, StateSchema, messages_of
from stategraph.prebuilt.steps import Step, Steps

PROMPT_RUNNABLE_NAME = "Prompt"

Prompt: TypeAlias = (
    SystemMessage | str | Callable[[StateSchema], LanguageModelInput] | Runnable[StateSchema, LanguageModelInput]
)
"""A system message, its text, or what makes the model's input of the state."""


class PromptStep:
    """A prompt as a step.

    Args:
        prompt: The prompt; None sends the messages as they are.

    Attributes:
        runnable: The step as a Runnable: what callback handlers see.
        is_function: False for a Runnable, which may have handlers.

    Raises:
        ValueError: It is of another kind.
    """

    def __init__(self, prompt: object) -> None:
        self._leading: list[SystemMessage] | None = None
        self.is_function = not isinstance(prompt, Runnable)
        if prompt is None or isinstance(prompt, str | SystemMessage):
            system = SystemMessage(content=prompt) if isinstance(prompt, str) else prompt
            self._leading = [] if system is None else [system]
            self.runnable: AnyRunnable = RunnableCallable(self._messages, name=PROMPT_RUNNABLE_NAME)
        elif isinstance(prompt, Runnable):
            self.runnable = prompt
        elif inspect.iscoroutinefunction(prompt):
            self.runnable = RunnableCallable(None, prompt, name=PROMPT_RUNNABLE_NAME)
        elif callable(prompt):
            self.runnable = RunnableCallable(prompt, name=PROMPT_RUNNABLE_NAME)
        else:
            raise ValueError(f"Got unexpected type for `prompt`: {type(prompt)}")

    def _messages(self, state: State) -> Any:
        messages = messages_of(state)
        return [*cast("list[Any]", self._leading), *messages] if self._leading else messages

    def applying(self, state: State, config: RunnableConfig) -> Steps[Any]:
        """Make the input of the model where no callback handler listens.

        Args:
            state: The state of the agent.
            config: Of the node.
        """
        if self._leading is not None:
            return self._messages(state)
        runnable = self.runnable
        return (yield Step(partial(runnable.invoke, state, config), partial(runnable.ainvoke, state, config)))


def runnable_of(prompt: object) -> AnyRunnable:
    """Return a prompt as a Runnable.

    Args:
        prompt: The prompt; None sends the messages as they are.

    Raises:
        ValueError: It is of another kind.
    """
    return PromptStep(prompt).runnable
