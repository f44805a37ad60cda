"""Models as agents take them.

A program may make all models itself, as tests do with scripted ones: the service `model_factory` of a runtime is a
function of a `ModelRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from langchain_core.language_models import BaseChatModel

from stategraph.agent.llm import models
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.kinds.model import ModelSpec, ProviderModel
from stategraph.resources.kinds.values import Retry


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model that is wanted.

    Attributes:
        provider: Whose model it is.
        name: The provider's name of it.
        parameters: Options of its client.
        used_by: The resource that uses it, as `agent/cooking/recipe-assistant`.
    """

    provider: str
    name: str
    parameters: Fields
    used_by: str


ModelFactory: TypeAlias = Callable[[ModelRequest], BaseChatModel]
"""Makes the models of a runtime."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model, described as agents take it.

    Attributes:
        provider: Whose model it is.
        name: The provider's name of it.
        options: Options of its client; they may hold a key, and are never shown.
        fallbacks: What is tried when it fails.
        retry: Which failed calls are repeated; None: as its client does.
        timeout_s: How long one answer may take; None: as its client says.
        rpm: Requests a minute; None: no limit.
    """

    provider: str
    name: str
    options: Fields = field(default_factory=dict, repr=False)
    fallbacks: tuple[ModelPlan, ...] = ()
    retry: Retry | None = None
    timeout_s: float | None = None
    rpm: float | None = None

    def settings(self, used_by: str, factory: ModelFactory | None) -> Object:
        """Return the fields of `AgentInputs` that say which model an agent has.

        Args:
            used_by: The resource that uses it.
            factory: Makes models; None: the providers' clients.
        """
        fields: Object = self._choice(used_by, factory)
        if self.fallbacks:
            fields["fallbacks"] = [
                {**each._choice(used_by, factory), **each._limits("retry", "timeouts", "rate_limit")}
                for each in self.fallbacks
            ]
        return {**fields, **self._limits("model_retry", "model_timeouts", "model_rate_limit")}

    def _choice(self, used_by: str, factory: ModelFactory | None) -> Object:
        if factory is not None:
            return {"model": factory(ModelRequest(self.provider, self.name, dict(self.options), used_by))}
        return {"provider": self.provider, "client_options": {**self.options, "model": self.name}}

    def _limits(self, retry: str, timeouts: str, rate_limit: str) -> Object:
        fields: Object = {}
        if self.retry is not None:
            fields[retry] = {
                "max_attempts": self.retry.max,
                "initial_interval_s": self.retry.backoff,
                "backoff_factor": self.retry.factor,
                "max_interval_s": self.retry.max_backoff,
                "jitter": self.retry.jitter,
            }
        if self.timeout_s is not None:
            fields[timeouts] = {"total_s": self.timeout_s}
        if self.rpm is not None:
            fields[rate_limit] = {"requests_per_minute": self.rpm}
        return fields

    def check(self, used_by: str, factory: ModelFactory | None, registry: Data = None) -> None:
        """Make the model once, to find out whether it can be made; contacts no network.

        Raises:
            ConfigurationError: The provider is unknown or refuses the options, or there is no key.
            MissingPackageError: The provider's package is not installed.
        """
        models.candidates(AgentInputs(agent_id="check", **self.settings(used_by, factory)), registry)

    def chat_model(self, used_by: str, factory: ModelFactory | None, registry: Data = None) -> BaseChatModel:
        """Return the model itself, without what is tried when it fails."""
        given = AgentInputs(agent_id="model", **self.settings(used_by, factory))
        made: BaseChatModel = models.candidates(given, registry)[0].model
        return made


def of_provider(model: ProviderModel, api_key: str | None = None) -> ModelPlan:
    """Return a model that is described where it is used.

    Args:
        model: The description.
        api_key: The value of its `secretRef`.
    """
    return ModelPlan(model.provider, model.name, _options(model, api_key))


def of_spec(spec: ModelSpec, api_key: str | None, fallbacks: Sequence[ModelPlan]) -> ModelPlan:
    """Return what a Model declares.

    Args:
        spec: Its spec.
        api_key: The value of its `secretRef`.
        fallbacks: What is tried when it fails.
    """
    options = _options(spec, api_key)
    return ModelPlan(spec.provider, spec.name, options, tuple(fallbacks), spec.retry, spec.timeout, spec.limits.rpm)


def _options(model: ProviderModel, api_key: str | None) -> Object:
    options = dict(model.parameters)
    if model.endpoint is not None:
        options["base_url"] = model.endpoint
    if api_key is not None:
        options["api_key"] = api_key
    return options
