"""Settings of the models of an agent: options, fallbacks, retries, time limits, rate limits.

- They are values of classes first; mappings in either spelling are taken too, and read as the same values.
- Nothing here waits, counts or calls: `stategraph.agent.llm` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.rate_limiters import BaseRateLimiter
from pydantic import BeforeValidator, Field, InstanceOf, SecretStr, model_validator

from stategraph.agent.settings.field_types import Amount, Count, Flag, Number, PositiveInt, PositiveNumber, WholeNumber
from stategraph.agent.settings.validation import Settings, Several
from stategraph.policies import RetryPolicy, default_retry_on

if TYPE_CHECKING:
    Secret: TypeAlias = SecretStr | str
    """A text that is kept as a secret."""
else:
    Secret = SecretStr


class ModelOptions(Settings):
    """Options of a model's client, by the same names for every provider.

    Attributes:
        model: The model's name, where it stands apart from its provider's.
        temperature: How much chance there is in an answer.
        top_p: The part of the probable next tokens that is chosen from.
        max_tokens: The longest answer, in tokens.
        stop: Texts that end an answer.
        seed: Makes answers repeatable where the provider can.
        reasoning_effort: How much a model thinks that can be told so.
        api_key: The key; None: that of the environment.
        base_url: The address of the provider's API; None: its own.
        headers: HTTP headers of every request.
        stream_usage: Whether streams are asked for usage; None: they are.
        max_retries: How often the client itself repeats a request; None: its default, and never if the agent has a
            `model_retry`.
        prompt_cache: Whether instructions are marked for the provider's prompt cache.
        extra: Further parameters of the provider's LangChain class, in either spelling. What stands there wins.
    """

    model: str | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    max_tokens: PositiveInt | None = None
    stop: Several[str] | None = None
    seed: WholeNumber | None = None
    reasoning_effort: str | None = None
    api_key: Secret | None = Field(default=None, repr=False)
    base_url: str | None = Field(default=None, repr=False)
    headers: dict[str, str] | None = Field(default=None, repr=False)
    stream_usage: Flag | None = None
    max_retries: Count | None = None
    prompt_cache: Flag | None = None
    extra: dict[str, Any] = Field(default_factory=dict, repr=False)

    def options(self) -> dict[str, Any]:
        """Return them as options of a client, without those that are not given."""
        given: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None or name == "extra":
                continue
            given[_CLIENTS.get(name, name)] = value
        if isinstance(self.api_key, SecretStr):
            given["api_key"] = self.api_key.get_secret_value()
        if self.stop is not None:
            given["stop"] = list(self.stop)
        return {**given, **self.extra}


_CLIENTS: Mapping[str, str] = {"headers": "default_headers"}
"""The clients' names of options that are called otherwise here."""


class ModelRetry(Settings):
    """Retry policy of a model: the calls that are repeated, and after which pause.

    What cannot succeed is never repeated: a refused key or request, an unknown model, a prompt that is too long, a
    quota that is used up. A provider that says how long to wait (`Retry-After`) is believed.

    Attributes:
        max_attempts: Attempts of one model altogether, the first one included; fallbacks come after them.
        initial_interval_s: Pause before the second attempt, in seconds.
        backoff_factor: Factor by which each pause is longer than the one before.
        max_interval_s: No pause of our own is longer than this.
        max_retry_after_s: A provider that asks for a longer pause is not waited for: the next model is tried, or the
            call fails.
        jitter: Whether pauses are shortened by chance, by up to a half, so that many clients do not come back at once.
        after_first_token: Whether an answer that broke off after it had begun is asked for again. Readers have seen its
            beginning then: its steps are closed as failed, and the new answer follows in steps of its own.
        retry_on: Decides in place of the rules above, which `stategraph.agent.llm.retries.is_transient` has.
    """

    max_attempts: PositiveInt = 3
    initial_interval_s: Amount = 0.5
    backoff_factor: Annotated[Number, Field(ge=1)] = 2.0
    max_interval_s: PositiveNumber = 30.0
    max_retry_after_s: Amount = 60.0
    jitter: Flag = True
    after_first_token: Flag = False
    retry_on: Callable[[Exception], bool] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_policy(cls, given: Any) -> Any:
        """Take the retry policy of a node as well."""
        if not isinstance(given, RetryPolicy):
            return given
        retry_on: Any = given.retry_on
        if isinstance(retry_on, type) or not callable(retry_on):
            kinds = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
            own: Any = lambda error: isinstance(error, kinds)  # noqa: E731
        else:
            own = None if retry_on is default_retry_on else retry_on
        return {
            "max_attempts": given.max_attempts,
            "initial_interval_s": given.initial_interval,
            "backoff_factor": given.backoff_factor,
            "max_interval_s": given.max_interval,
            "jitter": given.jitter,
            "retry_on": own,
        }


class ModelTimeouts(Settings):
    """Time limits of one attempt of a model, in seconds; None: no limit. They need an async run.

    An attempt that takes too long ends with a `ModelTimeoutError`, which a retry policy repeats and after which
    fallbacks are tried.

    Attributes:
        first_token_s: Until the answer begins, with text, thinking or a call of a tool. Without a listener answers are
            not streamed, and this is not looked at.
        between_tokens_s: Between two pieces of the answer. Not looked at without a listener either.
        total_s: For the whole answer.
    """

    first_token_s: PositiveNumber | None = None
    between_tokens_s: PositiveNumber | None = None
    total_s: PositiveNumber | None = None


class RateLimit(Settings):
    """Limit of how often a model may be called: a token bucket, whose calls wait for their turn, in order.

    All agents and runs of a runtime that name it alike share it. Each process has buckets of its own.

    Attributes:
        requests_per_minute: Calls a minute, over time.
        burst: Calls that may be made at once after a pause.
        key: Whose limit it is; None: that of the provider and the model.
    """

    requests_per_minute: PositiveNumber
    burst: PositiveInt = 1
    key: str | None = None


def _limit(given: Any) -> Any:
    if given is None or isinstance(given, RateLimit | BaseRateLimiter | Mapping):
        return given
    raise ValueError(
        f"a value of type {type(given).__name__} is no rate limit; expected RateLimit(requests_per_minute=...), a"
        " mapping with its fields, or a rate limiter of langchain-core"
    )


Limiter: TypeAlias = Annotated[RateLimit | InstanceOf[BaseRateLimiter], BeforeValidator(_limit)]
"""A rate limit, or a limiter that the host made and shares as it likes."""


class Fallback(Settings):
    """Another model to try when one fails.

    Attributes:
        model: A model ready to use, or a text `provider:model`. Excludes `provider`.
        provider: Whose model it is.
        model_options: Options of its client.
        client_options: More options of its client, in either spelling, which `model_options` override.
        retry: How its calls are repeated; None: as the agent's.
        timeouts: Its time limits; None: the agent's.
        rate_limit: How often it may be called; None: without a limit.
    """

    model: InstanceOf[BaseChatModel] | str | None = None
    provider: Annotated[str, Field(min_length=1)] | None = None
    model_options: ModelOptions = Field(default=ModelOptions(), repr=False)
    client_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    retry: ModelRetry | None = None
    timeouts: ModelTimeouts | None = None
    rate_limit: Limiter | None = None

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        check_choice("a fallback", self.model, self.provider, self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """All options of the client."""
        return {**self.client_options, **self.model_options.options()}


def _fallback(given: Any) -> Any:
    return {"model": given} if isinstance(given, str | BaseChatModel) else given


def _list_of_fallbacks(given: Any) -> Any:
    if isinstance(given, str | BaseChatModel | Mapping | Fallback):
        raise ValueError("one fallback was given; expected a list of fallbacks: put it into [ ]")
    return given


if TYPE_CHECKING:
    Fallbacks: TypeAlias = Sequence[Fallback | str | BaseChatModel]
else:
    Fallbacks = Annotated[
        tuple[Annotated[Fallback, BeforeValidator(_fallback)], ...], BeforeValidator(_list_of_fallbacks)
    ]
"""Models to try in order; a text `provider:model` or a ready model will do for each."""


def _client_options(given: Any) -> Any:
    return given.options() if isinstance(given, ModelOptions) else given


ClientOptions: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_client_options)]
"""Options of a provider's client, as a mapping in either spelling or as `ModelOptions`."""


def check_choice(who: str, model: BaseChatModel | str | None, provider: str | None, options: Mapping[str, Any]) -> None:
    """Check that a model is given in one way.

    Args:
        who: Whose model it is, for the message.
        model: The model, or its name.
        provider: Whose model it is.
        options: What the client takes.

    Raises:
        ValueError: It is given in no way, or in two.
    """
    ready, described = model is not None, provider is not None
    if ready and described:
        raise ValueError(f"{who} has both a model and a provider; give either the model, or provider and options")
    if isinstance(model, BaseChatModel) and options:
        raise ValueError(
            f"{who} has both a ready model and client options; give the options to the model,"
            " or name the model as 'provider:model'"
        )
    if not ready and not described:
        raise ValueError(f"{who} has no model; give one as 'model', or a 'provider' with its client options")
    if isinstance(model, str) and not all(model.partition(":")):
        raise ValueError(f"{who} has the model {model!r}; expected the form 'provider:model'")
