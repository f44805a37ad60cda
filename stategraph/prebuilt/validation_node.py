"""The node that checks the calls of a message against schemas and executes none of them.

It runs where the graph runs: a check takes less time than to hand it to a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1
from typing_extensions import deprecated

from stategraph.engine.compile.functions import RunnableCallable
from stategraph.warnings import LangGraphDeprecatedSinceV10

Schema = type[BaseModel] | type[BaseModelV1]


def default_text(error: BaseException, call: ToolCall, schema: Schema) -> str:
    """Return what a model is told about a call that does not fit its schema."""
    return f"{error!r}\n\nRespond after fixing all validation errors."


@deprecated(
    "ValidationNode is deprecated. Please use `create_agent` from `langchain.agents` with custom tool error handling.",
    category=LangGraphDeprecatedSinceV10,
)
class ValidationNode(RunnableCallable):
    """A node that checks the tool calls of the last message, for answers that have to be of a form.

    It answers each call with a `ToolMessage`: the arguments as JSON, or the error, with `is_error` in its
    `additional_kwargs`. It takes and returns a list of messages, or a state with `messages`.

    Attributes:
        schemas_by_name: The schemas by the names of calls.
    """

    def __init__(
        self,
        schemas: Sequence[BaseTool | type[BaseModel] | Callable[..., object]],
        *,
        format_error: Callable[[BaseException, ToolCall, type[BaseModel]], str] | None = None,
        name: str = "validation",
        tags: list[str] | None = None,
    ) -> None:
        """Make the node.

        Args:
            schemas: Pydantic models, tools, or functions whose parameters are the schema.
            format_error: Returns the text for the model from an error, the call and the schema.
            name: The name of the node.
            tags: Tags of its runs.

        Raises:
            ValueError: A schema is of another kind.
        """
        super().__init__(self._func, None, name=name, tags=tags, trace=False)
        self._format_error = cast("Callable[[BaseException, ToolCall, Schema], str]", format_error or default_text)
        self.schemas_by_name: dict[str, Schema] = dict(map(_named, schemas))

    def _func(self, input: list[AnyMessage] | dict[str, Any], config: RunnableConfig) -> object:
        is_list = isinstance(input, list)
        messages = input if isinstance(input, list) else input.get("messages", [])
        if not messages and not is_list:
            raise ValueError("No message found in input")
        message = messages[-1]
        if not isinstance(message, AIMessage):
            raise ValueError("Last message is not an AIMessage")
        answers = [self._answer(call) for call in message.tool_calls]
        return answers if is_list else {"messages": answers}

    def _answer(self, call: ToolCall) -> ToolMessage:
        schema = self.schemas_by_name[call["name"]]
        try:
            if issubclass(schema, BaseModel):
                content = schema.model_validate(call["args"]).model_dump_json()
            else:
                content = schema.validate(call["args"]).json()
        except (ValidationError, ValidationErrorV1) as error:
            content = self._format_error(error, call, schema)
            return ToolMessage(
                content, name=call["name"], tool_call_id=call["id"], additional_kwargs={"is_error": True}
            )
        return ToolMessage(content, name=call["name"], tool_call_id=call["id"])


def _named(schema: Any) -> tuple[str, Schema]:
    """Return a schema with the name of its calls."""
    if isinstance(schema, BaseTool):
        arguments = schema.args_schema
        if arguments is None:
            raise ValueError(f"Tool {schema.name} does not have an args_schema defined.")
        if not isinstance(arguments, type) or not is_basemodel_subclass(arguments):
            raise ValueError(
                "Validation node only works with tools that have a pydantic BaseModel args_schema. "
                f"Got {schema.name} with args_schema: {arguments}."
            )
        return schema.name, arguments
    if isinstance(schema, type) and issubclass(schema, BaseModel | BaseModelV1):
        return schema.__name__, schema
    if callable(schema):
        return schema.__name__, create_schema_from_function("Validation", schema)
    raise ValueError(f"Unsupported input to ValidationNode. Expected BaseModel, tool or function. Got: {type(schema)}.")
