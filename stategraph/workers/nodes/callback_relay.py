"""Report what LangChain's models, tools and chains do inside of a node on a worker to the callbacks of the run.

The worker's handler sends each report as data; here the same report is made to the handlers of the run, so that the
stream of messages, tracers and counters of tokens hear of a model on a worker as of one in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core import outputs
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.callbacks.manager import handle_event
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from stategraph.errors import TransferError
from stategraph.workers.nodes.port import NodePort
from stategraph.workers.references import Targets
from stategraph.workers.wire import Codec, ErrorData

#: The name of the event that carries a report.
EVENT = "callback"

#: Each report, and the attribute by which handlers say that they ignore it.
_IGNORED_BY = {
    "on_llm_start": "ignore_llm",
    "on_chat_model_start": "ignore_chat_model",
    "on_llm_new_token": "ignore_llm",
    "on_llm_end": "ignore_llm",
    "on_llm_error": "ignore_llm",
    "on_chain_start": "ignore_chain",
    "on_chain_end": "ignore_chain",
    "on_chain_error": "ignore_chain",
    "on_tool_start": "ignore_agent",
    "on_tool_end": "ignore_agent",
    "on_tool_error": "ignore_agent",
    "on_retriever_start": "ignore_retriever",
    "on_retriever_end": "ignore_retriever",
    "on_retriever_error": "ignore_retriever",
    "on_custom_event": "ignore_custom_event",
}


def _reporter(name: str) -> Callable[..., None]:
    def report(self: Relay, *args: object, **kwargs: object) -> None:
        self.send(name, args, kwargs)

    report.__name__ = name
    return report


class Relay(BaseCallbackHandler):
    """The worker's handler: sends every report to the host.

    Args:
        port: The node's way to its host.
    """

    run_inline = True

    def __init__(self, port: NodePort) -> None:
        self._port = port

    def send(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        """Send a report; what has no stored form in it is left out."""
        codec = self._port.codec
        sent = [ErrorData.of(_flat(each), codec) for each in args]
        named = {key: _flat(each) for key, each in kwargs.items()}
        try:
            self._port.emit_from_thread(EVENT, [name, sent, named])
        except TransferError:
            kept = {
                key: each for key, each in named.items() if isinstance(each, str | int | float | list | UUID | None)
            }
            self._port.emit_from_thread(EVENT, [name, [_text(each) for each in sent], kept])


for _name in _IGNORED_BY:
    setattr(Relay, _name, _reporter(_name))


class StreamingRelay(Relay, _StreamingCallbackHandler[Any]):
    """One for whose sake models stream, as they do for the stream of messages."""

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[object]) -> AsyncIterator[object]:
        """Return what a Runnable streams as it is: only its reports are sent."""
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[object]) -> Iterator[object]:
        """Return what a Runnable streams as it is."""
        return output


class Listeners:
    """The handlers of a run.

    Args:
        manager: The run's callbacks.
    """

    def __init__(self, manager: BaseCallbackManager) -> None:
        self._manager = manager
        self._codec = Codec(Targets())

    @property
    def stream(self) -> bool:
        """Tell whether one of them wants models to stream."""
        return any(isinstance(each, _StreamingCallbackHandler) for each in self._manager.handlers)

    def tell(self, report: Sequence[Any]) -> None:
        """Make a report to all of them that want it."""
        name, args, kwargs = report
        manager = self._manager
        if kwargs.get("parent_run_id") is None:
            kwargs["parent_run_id"] = manager.parent_run_id
        whole = [ErrorData.taken(_whole(each), self._codec) for each in args]
        named = {key: _whole(each) for key, each in kwargs.items()}
        if name == "on_custom_event":
            del named["parent_run_id"]
        handle_event(manager.handlers, name, _IGNORED_BY[name], *whole, **named)


def listeners(config: Mapping[str, object]) -> Listeners | None:
    """Return the listeners to models and tools in a task; None if there are none."""
    manager = config.get("callbacks")
    if not isinstance(manager, BaseCallbackManager) or not manager.handlers:
        return None
    return Listeners(manager)


def _flat(value: object) -> object:
    """Return results of models in parts: as a whole, messages in them would come back as their base class."""
    if isinstance(value, outputs.LLMResult):
        generations = [[_flat(each) for each in several] for several in value.generations]
        return {"__result__": generations, "llm_output": value.llm_output}
    if isinstance(value, outputs.Generation):
        message = getattr(value, "message", None)
        about = {"generation_info": value.generation_info}
        return {"__generation__": type(value).__name__, "text": value.text, "message": message, **about}
    return value


def _whole(value: Any) -> Any:
    """Return the value that was sent in parts."""
    if isinstance(value, dict) and "__result__" in value:
        generations = [[_whole(each) for each in several] for several in value["__result__"]]
        return outputs.LLMResult(generations=generations, llm_output=value["llm_output"])
    if isinstance(value, dict) and "__generation__" in value:
        cls = getattr(outputs, value["__generation__"])
        content = {"text": value["text"]} if value["message"] is None else {"message": value["message"]}
        return cls(**content, generation_info=value["generation_info"])
    return value


def _text(value: object) -> object:
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)
