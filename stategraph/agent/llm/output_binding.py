"""Binding of an agent's models to what asks them for its output.

By itself (`auto`) a model is asked

- by its provider's mode for JSON schemas, if its profile says that it has one and the agent has no tools: with tools
  there, some providers refuse the mode, and others take strict tools only;
- else by a tool, if it can call tools; it is made to call one, unless it cannot be made to;
- else by instructions, and so are all models of an agent of which one can do neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_core.language_models import BaseChatModel

from stategraph.agent.agent import Route
from stategraph.agent.llm import models
from stategraph.agent.output import schemas
from stategraph.agent.output.agent_output import AgentOutput, Mode
from stategraph.agent.output.output_type import OutputType
from stategraph.agent.settings.inputs import AgentInputs


def output_of(inputs: AgentInputs, candidates: Sequence[models.Candidate], *, has_tools: bool) -> AgentOutput | None:
    """Return the output that an agent has to give; None if any text will do.

    Args:
        inputs: The agent.
        candidates: Its models.
        has_tools: Whether it has tools or handoffs.

    Raises:
        ConfigurationError: Its output type cannot be used.
        MissingPackageError: The type needs a package that is not installed.
    """
    if inputs.output_type is None:
        return None
    kind = OutputType(inputs.output_type)
    return AgentOutput(kind, inputs.output_retries, _modes(inputs, kind, candidates, has_tools))


def _modes(
    inputs: AgentInputs, kind: OutputType, candidates: Sequence[models.Candidate], has_tools: bool
) -> tuple[Mode, ...]:
    if inputs.output_mode != "auto":
        modes: list[Mode] = [inputs.output_mode for _ in candidates]
    elif kind.is_text:
        modes = ["text" for _ in candidates]
    else:
        modes = [_mode(each.model, has_tools=has_tools) for each in candidates]
        if "prompt" in modes and not has_tools:
            # A model without tools would be sent a history with calls of them.
            modes = ["prompt" if each == "tool" else each for each in modes]
    return tuple(modes)


def _mode(model: BaseChatModel, *, has_tools: bool) -> Mode:
    profile = _profile(model)
    if profile.get("structured_output") and not has_tools:
        return "native"
    can_call = type(model).bind_tools is not BaseChatModel.bind_tools and profile.get("tool_calling") is not False
    return "tool" if can_call else "prompt"


def _profile(model: BaseChatModel) -> Mapping[str, object]:
    """Return what is known of a model's abilities."""
    return getattr(model, "profile", None) or {}


def routes(
    candidates: Sequence[models.Candidate], shown: Sequence[object], output: AgentOutput | None = None
) -> tuple[Route, ...]:
    """Return models with their tools bound, and what asks them for an output.

    Args:
        candidates: The models.
        shown: The tools that they are shown, those that take an output among them.
        output: The output; None: they are not asked for one.
    """
    modes = (None,) * len(candidates) if output is None else output.modes
    return tuple(
        Route(
            models.bind(each.model, shown, **({} if output is None else _options(each.model, mode, output.type))),
            each.provider,
            each.name,
            models.provider_of(each.model),
            each.retry,
            each.timeouts,
            each.limiter,
        )
        for each, mode in zip(candidates, modes, strict=True)
    )


def _options(model: BaseChatModel, mode: Mode | None, kind: OutputType) -> dict[str, object]:
    if mode == "native":
        return {"response_format": _response_format(kind)}
    # Providers refuse to force a model that thinks, and one that may answer in words must not be.
    forced = mode == "tool" and not kind.takes_text and not models.thinks(model)
    return {"tool_choice": "any"} if forced and _profile(model).get("tool_choice") is not False else {}


def _response_format(kind: OutputType) -> dict[str, object]:
    """Return the format in OpenAI's form, which the classes of other providers take as well."""
    described: dict[str, object] = {"name": kind.name, "schema": kind.schema}
    if kind.description:
        described["description"] = kind.description
    if (strict := schemas.strict(kind.schema)) is not None:
        described |= {"schema": strict, "strict": True}
    return {"type": "json_schema", "json_schema": described}
