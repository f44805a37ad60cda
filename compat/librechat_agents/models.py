"""Chat models by the provider's name, as an agent's settings make them."""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from stategraph import Providers
from stategraph.agent.llm import models

__all__ = ["getChatModelClass", "getMaxOutputTokensKey", "initializeModel"]

_GOOGLE = (Providers.GOOGLE, Providers.VERTEXAI)


def getChatModelClass(provider: str) -> Callable[[Mapping[str, Any] | None], BaseChatModel]:
    """Return a function that makes a model of a provider, of the client's options.

    Args:
        provider: The provider's name.

    Raises:
        ConfigurationError: By the function: the provider is not known, or refuses the options.
    """

    def make(clientOptions: Mapping[str, Any] | None = None) -> BaseChatModel:
        return models.resolve(str(provider), clientOptions)

    return make


def initializeModel(params: Mapping[str, Any]) -> Any:
    """Make a model, and offer it tools.

    Args:
        params: `provider`, `clientOptions` and `tools`; or `overrideModel` in place of the first two.

    Raises:
        ConfigurationError: The provider is not known or refuses the options, or the model cannot call tools.
    """
    given = params.get("overrideModel")
    model = models.resolve(str(params["provider"]), params.get("clientOptions")) if given is None else given
    return models.bind(model, params.get("tools") or ())


def getMaxOutputTokensKey(provider: str) -> str:
    """Return the client's option that limits the tokens of an answer."""
    return "maxOutputTokens" if provider in _GOOGLE else "maxTokens"
