"""Chat models that keep what they were given to themselves, and whose failures say what failed.

`shielded` makes a class of a provider's class:

- An error leaves it without the secrets that the model was given, before LangChain tells callbacks and tracers of it.
  The model's `repr` and what it tells tracers about itself are without them too.
- What a provider's class trips over, such as an answer of another shape than its API's, is a `ModelAnswerError` that
  names provider, model and address; the provider's own errors keep their classes and get a note that does.
- A stream that ends without having said anything is such an error.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr, ValidationError

from stategraph.agent.settings.secrets import Guard, Secrets, in_options, shown_address
from stategraph.errors import ModelAnswerError

_TRIPPED_OVER = (
    *(AttributeError, IndexError, KeyError, RecursionError, TypeError, UnicodeDecodeError, ValueError),
    *(json.JSONDecodeError, ValidationError),
)
"""Errors of exactly these classes say nothing about the request."""

_ADDRESSES = ("openai_api_base", "azure_endpoint", "anthropic_api_url", "base_url", "endpoint_url", "endpoint")

_SAYS_NOTHING = frozenset({"model_provider", "model_name"})

_DEFINITIONS = frozenset({"tools", "functions"})

_NONE = Secrets()

if TYPE_CHECKING:
    _Base = BaseChatModel
else:
    _Base = object


def secrets_of(model: BaseChatModel) -> Secrets:
    """Find the secrets that a chat model was given.

    Args:
        model: Any.
    """
    if isinstance(model, Shielded):
        return model._secrets
    return Secrets(in_options(vars(model)))


def described(model: BaseChatModel, provider: str, name: str) -> str:
    """Describe a model: its name, provider and address, without what may be secret.

    Args:
        model: The model.
        provider: As the host spelled it.
        name: The model's name.
    """
    address = next((found for each in _ADDRESSES if isinstance(found := getattr(model, each, None), str) and found), "")
    where = f", {shown_address(address)}" if address else ""
    return f"model {name!r} ({provider or type(model).__name__}{where})"


class Shielded(_Base):
    """Base that `shielded` puts before a provider's class."""

    if TYPE_CHECKING:
        _secrets: Secrets
        _described: str

    def shield(self, secrets: Secrets, described: str) -> None:
        """Set the secrets to hide, and the name of the model in errors."""
        self._secrets = secrets | Secrets(in_options(vars(self)))
        self._described = described

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, self._secrets.value(value)

    def to_json(self) -> Any:
        """Return the model as tracers are told of it."""
        return self._secrets.value(super().to_json())

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Return what tracers are told of a call; definitions of tools are the agent's, and too large to search."""
        given = super()._get_invocation_params(stop=stop, **kwargs)
        own = {name: value for name, value in given.items() if name not in _DEFINITIONS}
        hidden = self._secrets.value(own)
        return given if hidden is own else {**given, **hidden}

    def _silent(self) -> ModelAnswerError:
        return ModelAnswerError(
            f"The {self._described} ended its answer without having said anything; is that the address of its API?"
        )


class _Failing(Guard):
    """Says which model it was that an error is about, without its secrets."""

    __slots__ = ("_described",)

    def __init__(self, model: Shielded) -> None:
        super().__init__(model._secrets)
        self._described = model._described

    def shown(self, error: Exception) -> BaseException:
        if type(error) in _TRIPPED_OVER:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            about = f"The {self._described} could not be asked, or answered what cannot be used: {text}"
            wrong = ModelAnswerError(about)
            wrong.__cause__ = error
            return super().shown(wrong)
        if not isinstance(error, ModelAnswerError) and not hasattr(error, "__notes__"):
            error.add_note(f"It was the {self._described}.")
        return super().shown(error)


def _says_something(chunk: ChatGenerationChunk) -> bool:
    message: Any = chunk.message
    if message.content or chunk.generation_info or message.additional_kwargs:
        return True
    return bool(getattr(message, "tool_call_chunks", None) or message.response_metadata.keys() - _SAYS_NOTHING)


class _Whole(Shielded):
    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with _Failing(self):
            return super()._generate(*args, **kwargs)  # type: ignore[safe-super]


class _WholeAsync(Shielded):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with _Failing(self):
            return await super()._agenerate(*args, **kwargs)


class _Streamed(Shielded):
    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with _Failing(self):
            said = False
            for chunk in super()._stream(*args, **kwargs):
                said = said or _says_something(chunk)
                yield chunk
            if not said:
                raise self._silent()


class _StreamedAsync(Shielded):
    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with _Failing(self):
            said = False
            async for chunk in super()._astream(*args, **kwargs):
                said = said or _says_something(chunk)
                yield chunk
            if not said:
                raise self._silent()


_PARTS = {"_generate": _Whole, "_agenerate": _WholeAsync, "_stream": _Streamed, "_astream": _StreamedAsync}


@cache
def shielded(cls: type[BaseChatModel]) -> type[BaseChatModel]:
    """Make a class with this module's rules of a provider's class; it has the same name and module.

    Args:
        cls: The provider's class.
    """
    # LangChain checks whether a class itself defines these methods: only those are put before it.
    parts = [
        part for name, part in _PARTS.items() if getattr(cls, name, None) not in (None, getattr(BaseChatModel, name))
    ]
    names = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__annotations__": {"_secrets": Secrets, "_described": str},
        "_secrets": PrivateAttr(default=_NONE),
        "_described": PrivateAttr(default=f"model of {cls.__name__}"),
    }
    made: Any = type(cls)
    return cast("type[BaseChatModel]", made(cls.__name__, (*parts, cls), names))
