"""Model: a language model of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from stategraph.resources.kinds.base import TEXT, Ref, Spec, Spelled, TargetSpec, parts
from stategraph.resources.kinds.values import Duration, Name, Retry, SecretRef


class ModelLimits(Spec):
    """Limits of a model."""

    rpm: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Requests a minute, in each process.")


class ProviderModel(Spec):
    """A model of a provider, described where it is used."""

    provider: Name = Field(description="The provider, such as openai or anthropic.")
    name: Name = Field(description="The provider's name of the model.")
    endpoint: str | None = Field(default=None, description="The address of the API; none: the provider's own.")
    secret_ref: SecretRef | None = Field(default=None, description="The API key; none: that of the environment.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Options of the client, such as temperature or maxTokens."
    )


def _inline(given: Any) -> Any:
    if isinstance(given, str) and ":" in given:
        provider, _, name = given.partition(":")
        return {"provider": provider, "name": name}
    return given


InlineModel: TypeAlias = Annotated[ProviderModel, BeforeValidator(_inline), Spelled(TEXT)]
"""A model: `provider:name`, or its provider, name and options."""


class FallbackModel(Spec):
    """A model to try when another one fails: a reference, or a description."""

    model: InlineModel | None = None
    model_ref: Ref | None = None

    @model_validator(mode="before")
    @classmethod
    def _either(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"model": given} if ":" in given else {"modelRef": given}
        if isinstance(given, Mapping) and not {"model", "modelRef", "model_ref"} & set(given):
            return {"model": given} if "provider" in given else {"modelRef": given}
        return given

    @model_validator(mode="after")
    def _one(self) -> FallbackModel:
        if (self.model is None) is (self.model_ref is None):
            raise ValueError("expected either 'modelRef' or a model with provider and name")
        return self


Fallback: TypeAlias = Annotated[FallbackModel, Spelled(TEXT, parts("name", "namespace", "kind"), {"type": "object"})]
"""A model to try: a reference, or a model, in any of their spellings."""


class ModelSpec(ProviderModel, TargetSpec):
    """A language model of a provider, with what is tried when it fails and what it may take."""

    fallback: tuple[Fallback, ...] = Field(default=(), description="Models to try in order when it fails.")
    limits: ModelLimits = Field(default=ModelLimits(), description="What it may take.")
    retry: Retry | None = Field(
        default=None, description="Which failed calls are repeated; none: what the client repeats."
    )
    timeout: Duration | None = Field(default=None, description="How long one answer may take.")
    description: str | None = Field(default=None, description="For people.")
