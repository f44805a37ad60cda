"""Chat models from what a host says: a provider's name and what its client takes, or a text `provider:model`.

- The table `_PROVIDERS` says which class of which package is a provider's, and what its parameters are called. Packages
  are imported when a model of theirs is asked for; one that is missing is named, with what to install.
- Options may be spelled as hosts of the TypeScript clients do (`apiKey`, `configuration.baseURL`, `maxTokens`) or as
  Python's classes do. What the tables do not know is passed on: the class decides. Durations are seconds.
- Keys and headers are never in a message: where a class refuses its parameters, they are named without their values,
  and a model that is made here hides what it was given (`stategraph.agent.llm.shielded`).
- Streams are asked for their usage, unless the options say `stream_usage=False` for a server that refuses that.
- Which models to try, `fallbacks`, how often and how fast is resolved here. Trying them is left to the caller.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable, RunnableBinding
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from stategraph.agent.llm import rate_limits
from stategraph.agent.llm.shielded import Shielded, described, shielded
from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings import validation
from stategraph.agent.settings.addresses import problem_with
from stategraph.agent.settings.inputs import AgentInputs, ToolDefinition
from stategraph.agent.settings.model_settings import Fallback, ModelRetry, ModelTimeouts
from stategraph.agent.settings.secrets import Secrets, in_options, texts_in
from stategraph.errors import ConfigurationError, MissingPackageError


@dataclass(frozen=True, slots=True)
class _Provider:
    """The class of a provider's models and its parameters.

    Attributes:
        module: Its module.
        name: Its name there.
        package: Its package, for `pip install`.
        renamed: Parameters whose names differ from those of OpenAI's class.
        unknown: Parameters that hosts set for every provider and that this class does not have.
        url: Address of its API, if the class is another provider's.
        key_from: The environment variable with its key, if the class is another provider's and would send that one's.
        needs_model: Whether the class must be told a model.
    """

    module: str
    name: str
    package: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    url: str | None = None
    key_from: str | None = None
    needs_model: bool = True


_USAGE = frozenset({"stream_usage"})
_REASONING = "stategraph.agent.llm.openai_reasoning"

_OPENAI = _Provider(_REASONING, "ChatOpenAI", "langchain-openai")
_AZURE = _Provider(
    _REASONING,
    "AzureChatOpenAI",
    "langchain-openai",
    renamed={
        "azure_openai_api_deployment_name": "azure_deployment",
        "azure_openai_api_key": "api_key",
        "azure_openai_api_version": "api_version",
        "azure_openai_endpoint": "azure_endpoint",
        "deployment_name": "azure_deployment",
        "openai_api_version": "api_version",
    },
    needs_model=False,
)
_GOOGLE = _Provider(
    "langchain_google_genai",
    "ChatGoogleGenerativeAI",
    "langchain-google-genai",
    renamed={"custom_headers": "additional_headers", "default_headers": "additional_headers"},
    unknown=_USAGE,
)
_VERTEX = _Provider("langchain_google_vertexai", "ChatVertexAI", "langchain-google-vertexai", unknown=_USAGE)
_BEDROCK = _Provider(
    "langchain_aws", "ChatBedrockConverse", "langchain-aws", renamed={"region": "region_name"}, unknown=_USAGE
)
_MISTRAL = _Provider(
    "langchain_mistralai", "ChatMistralAI", "langchain-mistralai", renamed={"server_url": "base_url"}, unknown=_USAGE
)

_PROVIDERS: Mapping[str, _Provider] = {
    "anthropic": _Provider(
        "langchain_anthropic", "ChatAnthropic", "langchain-anthropic", renamed={"anthropic_api_key": "api_key"}
    ),
    "azureOpenAI": _AZURE,
    "azure_openai": _AZURE,
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "cohere": _Provider(
        "langchain_cohere",
        "ChatCohere",
        "langchain-cohere",
        renamed={"api_key": "cohere_api_key", "timeout": "timeout_seconds"},
        unknown=_USAGE | {"max_retries"},
    ),
    "deepseek": _Provider("langchain_deepseek", "ChatDeepSeek", "langchain-deepseek"),
    "fireworks": _Provider("langchain_fireworks", "ChatFireworks", "langchain-fireworks", unknown=_USAGE),
    "google": _GOOGLE,
    "google_genai": _GOOGLE,
    "google_vertexai": _VERTEX,
    "groq": _Provider("langchain_groq", "ChatGroq", "langchain-groq", unknown=_USAGE),
    "mistral": _MISTRAL,
    "mistralai": _MISTRAL,
    "moonshot": _Provider(
        _REASONING, "ChatOpenAI", "langchain-openai", url="https://api.moonshot.ai/v1", key_from="MOONSHOT_API_KEY"
    ),
    "ollama": _Provider(
        "langchain_ollama",
        "ChatOllama",
        "langchain-ollama",
        renamed={"max_tokens": "num_predict"},
        unknown=_USAGE | {"api_key", "max_retries", "streaming"},
    ),
    "openAI": _OPENAI,
    "openai": _OPENAI,
    "openrouter": _Provider("langchain_openrouter", "ChatOpenRouter", "langchain-openrouter"),
    "perplexity": _Provider("langchain_perplexity", "ChatPerplexity", "langchain-perplexity", unknown=_USAGE),
    "together": _Provider("langchain_together", "ChatTogether", "langchain-together"),
    "vertexai": _VERTEX,
    "xai": _Provider("langchain_xai", "ChatXAI", "langchain-xai"),
}

_RENAMED: Mapping[str, str] = {
    "invocation_kwargs": "model_kwargs",
    "model_name": "model",
    "openai_api_key": "api_key",
    "stop_sequences": "stop",
}
"""The classes' names for parameters that hosts call otherwise, in snake case."""

_NESTED = ("configuration", "client_options")
"""Options of the HTTP client, which the TypeScript classes keep apart."""

_NOT_THE_CLASSES = frozenset(
    {
        *("_lc_stream_delay", "fallbacks", "prompt_cache", "prompt_cache_ttl"),
        *("dangerously_allow_browser", "fetch", "fetch_options", "http_agent"),
    }
)
"""Options for the caller of the model, and those that only JavaScript understands."""

_MODEL_NAMES = ("model", "modelName", "model_name")

_OWN_RETRIES = frozenset({"max_retries", "maxRetries"})

MODELS_KEPT = 256
"""Default for how many models are kept for reuse."""

_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer.

    Attributes:
        provider: The provider, as the host spelled it; for a model that came ready, as it says itself.
        name: The model's name; empty if it has none.
        model: The model.
        retry: Which of its calls are repeated; None: none.
        timeouts: Its time limits; None: it has none.
        limiter: What its calls wait for; None: nothing.
    """

    provider: str
    name: str
    model: BaseChatModel = field(repr=False)
    retry: ModelRetry | None = None
    timeouts: ModelTimeouts | None = None
    limiter: BaseRateLimiter | None = None


class Models:
    """The `ModelRegistry` of the providers known here.

    Models are made once and used again: a client's connections are worth more than its memory. Those with options
    that are no JSON, such as functions, are built each time.

    Args:
        kept: How many are kept, those that were asked for last: backends may have a key for each person.
    """

    def __init__(self, kept: int = MODELS_KEPT) -> None:
        self._made: dict[bytes, BaseChatModel] = {}
        self._kept = kept

    def __len__(self) -> int:
        return len(self._made)

    def resolve(
        self, provider: str, client_options: Mapping[str, Any] | None = None, reasoning_key: str | None = None
    ) -> BaseChatModel:
        """Return a chat model, as the function `resolve` does."""
        try:
            settings = json.dumps([provider, client_options, reasoning_key], sort_keys=True)
        except (TypeError, ValueError):
            return resolve(provider, client_options, reasoning_key)
        key = hashlib.sha256(settings.encode()).digest()
        model = self._made.pop(key, None) or resolve(provider, client_options, reasoning_key)
        self._made[key] = model
        if len(self._made) > self._kept:
            del self._made[next(iter(self._made))]
        return model


def candidates(agent: AgentInputs, models: ModelRegistry | None = None) -> tuple[Candidate, ...]:
    """Return the models that an agent may use, in the order in which to try them.

    All of them are made now, so that settings which make no sense are found before anything runs.

    Args:
        agent: The agent.
        models: Resolves them; None: the function `resolve`.

    Returns:
        At least one.

    Raises:
        ConfigurationError: A provider is unknown, or its settings make no sense.
        MissingPackageError: A provider's package is not installed.
    """
    own = Fallback(
        model=agent.model,
        provider=agent.provider,
        client_options=agent.options,
        rate_limit=agent.model_rate_limit,
    )
    fallbacks = (*cast("tuple[Fallback, ...]", agent.fallbacks), *_fallbacks(agent))
    try:
        return tuple(_candidate(each, agent, models) for each in (own, *fallbacks))
    except ConfigurationError as error:
        raise ConfigurationError(f"Agent {agent.agent_id!r}: {error}") from None


def _candidate(wanted: Fallback, agent: AgentInputs, models: ModelRegistry | None) -> Candidate:
    retry = wanted.retry or agent.model_retry
    if isinstance(wanted.model, BaseChatModel):
        provider, model = provider_of(wanted.model), _asked_for_usage(wanted.model)
    else:
        provider, options = chosen(wanted.model, wanted.provider, wanted.options)
        if retry is not None and not _OWN_RETRIES & {*options}:
            options["max_retries"] = 0  # the attempts are those of the policy
        model = (resolve if models is None else models.resolve)(provider, options, agent.reasoning_key)
    name = model_name(model)
    limiter = rate_limits.limiter(wanted.rate_limit, provider, name, models)
    return Candidate(provider, name, model, retry, wanted.timeouts or agent.model_timeouts, limiter)


def summarisers(agent: AgentInputs, models: ModelRegistry | None = None) -> tuple[Candidate, ...] | None:
    """Return the models that may summarise for an agent, in the order in which to try them.

    Args:
        agent: The agent.
        models: Resolves them; None: the function `resolve`.

    Returns:
        None for the agent's own.

    Raises:
        ConfigurationError: As `candidates`; or the agent has a ready model, which cannot be given other parameters.
        MissingPackageError: A provider's package is not installed.
    """
    config = agent.summarization_config
    wanted: dict[str, Any] = dict(config.parameters)
    # Hosts of the TypeScript package put the limit among the parameters as well.
    limits = (wanted.pop("maxSummaryTokens", None), wanted.pop("max_summary_tokens", None), config.max_summary_tokens)
    limit = next((each for each in limits if each is not None), None)
    wanted |= {key: value for key, value in (("model", config.model), ("max_tokens", limit)) if value is not None}
    if config.provider is None and not wanted:
        return None
    own, options = chosen(agent.model, agent.provider, agent.options)
    provider = config.provider or own
    if not provider:
        raise ConfigurationError(
            f"the summarization of agent {agent.agent_id!r} names {', '.join(sorted(wanted))}, but the agent's model"
            " came ready; name a 'provider' too, so that a model can be made"
        )
    base: dict[str, Any] = {}
    if provider == own:
        base = dict(options)
    for names in (_MODEL_NAMES, ("max_tokens", "maxTokens")):
        if names[0] in wanted:
            base = {key: value for key, value in base.items() if key not in names}
    described = AgentInputs(
        agent_id=agent.agent_id,
        provider=provider,
        client_options={**base, **wanted},
        fallbacks=agent.fallbacks if provider == own else (),
        model_retry=agent.model_retry,
        model_timeouts=agent.model_timeouts,
        model_rate_limit=agent.model_rate_limit,
        reasoning_key=agent.reasoning_key,
    )
    return candidates(described, models)


def _asked_for_usage(model: BaseChatModel) -> BaseChatModel:
    """Return a model that came ready such that it asks for the usage of streams, unless it was told not to.

    Classes for OpenAI's API ask by themselves only where the address is OpenAI's own.
    """
    known = type(model).model_fields.get("stream_usage")
    if known is None or known.default is not None or getattr(model, "stream_usage", False) is not None:
        return model
    return model.model_copy(update={"stream_usage": True})


def chosen(
    model: BaseChatModel | str | None, provider: str | None, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return a provider and the options of its client; a name in the form `provider:model` wins over one in these.

    A model that came ready has none of both.
    """
    if not isinstance(model, str):
        return provider or "", dict(options)
    provider, _, name = model.partition(":")
    others = {key: value for key, value in options.items() if key not in _MODEL_NAMES}
    return provider, {**others, "model": name}


def _fallbacks(agent: AgentInputs) -> list[Fallback]:
    given = agent.options.get("fallbacks") or ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigurationError(
            f"the fallbacks of agent {agent.agent_id!r} are a value of type {type(given).__name__}, expected a list of"
            " mappings with 'provider' and 'client_options'"
        )
    return [validation.checked(Fallback, each) for each in given]


def resolve(
    provider: str, client_options: Mapping[str, Any] | None = None, reasoning_key: str | None = None
) -> BaseChatModel:
    """Build a chat model.

    Args:
        provider: A provider's name, or `provider:model`.
        client_options: Options of its client, in either spelling; None: no more options.
        reasoning_key: Key of an OpenAI-compatible model's reasoning in messages; None: `reasoning_content`.

    Returns:
        The model.

    Raises:
        ConfigurationError: The provider is unknown, or its class refuses the options.
        MissingPackageError: The provider's package is not installed.
    """
    name, _, model = provider.partition(":")
    known = _PROVIDERS.get(name)
    if known is None:
        raise ConfigurationError(
            f"the provider {name!r} is not known; known are {', '.join(sorted(_PROVIDERS, key=str.lower))}. A model of"
            " another one can be given ready, as a LangChain chat model"
        )
    parameters = _parameters(known, client_options or {})
    _check_addresses(name, parameters)
    if model:
        parameters["model"] = model
    if known.needs_model and not parameters.get("model"):
        raise ConfigurationError(f"the provider {name!r} was given no model; name one in the client options as 'model'")
    if known.module == _REASONING and reasoning_key is not None:
        parameters["reasoning_key"] = reasoning_key
    cls = shielded(_load(name, known))
    _fit(parameters, getattr(cls, "model_fields", {}))
    try:
        made = cls(**parameters)
    except ValidationError as error:
        problems = validation.explain(error, cls, parameters, values=False).replace("\n", "; ")
    except ImportError:
        raise  # names what to install
    except Exception as error:
        problems = _without_values(error, parameters)
    else:
        assert isinstance(made, Shielded)
        made.shield(Secrets(in_options(parameters)), described(made, name, model_name(made)))
        return made
    # Not from within the handler: the original's text has values of the parameters.
    raise ConfigurationError(f"{cls.__name__} refuses the client options of the provider {name!r}: {problems}")


def _check_addresses(provider: str, parameters: Mapping[str, Any]) -> None:
    """Refuse addresses that no request can be sent to. Ollama and Google take names of hosts as well."""
    if provider == "ollama" or _PROVIDERS[provider] in (_GOOGLE, _VERTEX):
        return
    for name in ("base_url", "openai_api_base", "azure_endpoint", "anthropic_api_url", "endpoint_url"):
        if parameters.get(name) is not None and (problem := problem_with(parameters[name])) is not None:
            raise ConfigurationError(f"the option {name!r} of the provider {provider!r} {problem}")


def _fit(parameters: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Ask for usage where a class can, and leave out that it is to repeat nothing where it never does."""
    usage = fields.get("stream_usage")
    if usage is not None and usage.default is None:
        # Classes for OpenAI's API would ask only where the address is OpenAI's own.
        parameters.setdefault("stream_usage", True)
    if parameters.get("max_retries") == 0 and "max_retries" not in fields:
        del parameters["max_retries"]


def _without_values(error: Exception, parameters: Mapping[str, Any]) -> str:
    """Return a class's message about its parameters; only the kind of its error if the message repeats a value."""
    said = str(error)
    given = (text for name, value in parameters.items() if name != "model" for text in texts_in(value) if text)
    repeats = any(text in said for text in given)
    return type(error).__name__ if repeats or not said else f"{type(error).__name__}: {said}"


def _load(provider: str, known: _Provider) -> type[BaseChatModel]:
    needed = known.package.replace("-", "_")
    try:
        module = importlib.import_module(known.module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != needed:
            raise
        raise MissingPackageError(known.package, f"the provider {provider!r}") from None
    found: type[BaseChatModel] = getattr(module, known.name)
    return found


def _parameters(known: _Provider, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under the names of the class, without those that do not apply to it."""
    given = _flat(options)
    parameters = {}
    for name, value in given.items():
        parameter = known.renamed.get(name, _RENAMED.get(name, name))
        parameter = known.renamed.get(parameter, parameter)
        if value is not None and parameter not in known.unknown and parameter not in _NOT_THE_CLASSES:
            # Classes change what they are given: OpenAI's moves parameters from one mapping to another.
            parameters[parameter] = dict(value) if isinstance(value, Mapping) else value
    _join_azure_address(parameters)
    _join_aws_settings(parameters)
    if known.url is not None:
        parameters.setdefault("base_url", known.url)
    if known.key_from is not None and "api_key" not in parameters:
        parameters["api_key"] = _key_from_environment(known.key_from)
    return parameters


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in snake case, merged with those of the HTTP client, which win."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        snake = name if name == name.lower() else _WORD_STARTS.sub("_", name).lower().replace("open_ai", "openai")
        flat[snake] = value
    for nested in _NESTED:
        inner = flat.get(nested)
        if isinstance(inner, Mapping):
            del flat[nested]
            flat = {**_flat(inner), **flat}
    return flat


def _join_azure_address(parameters: dict[str, Any]) -> None:
    """Azure's address, which hosts give in three ways and the class takes in two."""
    instance = parameters.pop("azure_openai_api_instance_name", None)
    base = parameters.pop("azure_openai_base_path", None)
    if base is not None:
        deployment = parameters.pop("azure_deployment", None)
        parameters["base_url"] = f"{base.rstrip('/')}/{deployment}" if deployment else base
    elif instance is not None:
        parameters.setdefault("azure_endpoint", f"https://{instance}.openai.azure.com/")


def _join_aws_settings(parameters: dict[str, Any]) -> None:
    """Credentials, which the TypeScript class takes as one object, and the address, of which it takes the host."""
    host = parameters.pop("endpoint_host", None)
    if host is not None:
        parameters.setdefault("base_url", f"https://{host}")
    credentials = parameters.get("credentials")
    if isinstance(credentials, Mapping) and "accessKeyId" in credentials:
        del parameters["credentials"]
        names = {
            "accessKeyId": "access_key_id",
            "secretAccessKey": "secret_access_key",
            "sessionToken": "session_token",
        }
        parameters |= {f"aws_{name}": credentials[key] for key, name in names.items() if credentials.get(key)}


def _key_from_environment(variable: str) -> str:
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"there is no API key: give one in the client options as 'api_key', or set {variable}")
    return key


# Facts about models.


def _inner(model: Runnable[Any, Any]) -> BaseChatModel:
    while isinstance(model, RunnableBinding):
        model = model.bound
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(f"a value of type {type(model).__name__} is no chat model; expected a BaseChatModel")
    return model


def model_name(model: Runnable[Any, Any]) -> str:
    """Return a model's name as tracing reports it; empty if it has none."""
    return _inner(model)._get_ls_params().get("ls_model_name") or ""


def provider_of(model: Runnable[Any, Any]) -> str:
    """Return a model's provider as tracing reports it; empty if it has none."""
    return _inner(model)._get_ls_params().get("ls_provider") or ""


def thinks(model: Runnable[Any, Any]) -> bool:
    """Return whether a model is asked for reasoning blocks, which its provider wants back in a run of tool calls."""
    inner = _inner(model)
    holders = (getattr(inner, "additional_model_request_fields", None), getattr(inner, "model_kwargs", None))
    asked = [getattr(inner, "thinking", None), *(each.get("thinking") for each in holders if isinstance(each, dict))]
    return any(isinstance(each, dict) and each.get("type") in ("enabled", "adaptive") for each in asked)


# Tools.


def bind(model: BaseChatModel, tools: Sequence[Any], **options: Any) -> Runnable[LanguageModelInput, AIMessage]:
    """Offer a model tools with every call.

    Args:
        model: The model.
        tools: LangChain tools, functions, definitions, and mappings for tools that the provider runs; may be empty.
        **options: Further options of every call.

    Returns:
        The model itself if there are neither tools nor options.

    Raises:
        ConfigurationError: The model cannot call tools.
    """
    if not tools:
        return model.bind(**options) if options else model
    offered = [_offered(each) if isinstance(each, ToolDefinition) else each for each in tools]
    try:
        return model.bind_tools(offered, **options)
    except NotImplementedError:
        known = model_name(model) or "without a name"
    except PydanticUserError as error:
        # Pydantic says over several lines what its own settings could do about it.
        raise ConfigurationError(
            f"a tool cannot be described to a model: {error.message.partition(chr(10))[0]}. Its parameters need types "
            "that have a JSON schema, such as str, int, list, dict, a dataclass or a pydantic model"
        ) from None
    raise ConfigurationError(
        f"the model {known} ({type(model).__name__}) cannot call tools, and the agent has {len(offered)};"
        " give the agent another model or no tools"
    )


def _offered(definition: ToolDefinition) -> dict[str, Any]:
    """Convert a definition to the form that every class understands: OpenAI's."""
    parameters = definition.parameters or {"type": "object", "properties": {}}
    function = {"name": definition.name, "description": definition.description or "", "parameters": parameters}
    return {"type": "function", "function": function}
