"""Secret: where values are that nobody may see; never the values."""

from __future__ import annotations

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import Spec, TargetSpec


class KeyringEntry(Spec):
    """An entry of the system's keyring."""

    service: str = Field(min_length=1)
    username: str = Field(min_length=1)


class KubernetesKey(Spec):
    """A key of a Kubernetes Secret in the namespace of the resource."""

    name: str = Field(min_length=1)
    key: str = Field(min_length=1)


class SecretValue(Spec):
    """The place of one value: exactly one of the fields."""

    env: str | None = Field(None, min_length=1, description="A variable of the environment.")
    file: str | None = Field(
        None, min_length=1, description="A file in a folder of secrets; a last newline is cut off."
    )
    k8s: KubernetesKey | None = Field(None, description="A key of a Kubernetes Secret.")
    keyring: KeyringEntry | None = Field(None, description="An entry of the system's keyring.")

    @model_validator(mode="after")
    def _one(self) -> SecretValue:
        given = [name for name in ("env", "file", "k8s", "keyring") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a value comes from one of env, file, k8s, keyring; found {found}")
        return self


class SecretSpec(TargetSpec):
    """One value, or several by name."""

    value_from: SecretValue | None = Field(
        None, description="Where the value is, of a secret with one; its name is 'value'."
    )
    values: dict[str, SecretValue] = Field(default_factory=dict, description="Where the values are, by their names.")

    @model_validator(mode="after")
    def _any(self) -> SecretSpec:
        if self.value_from is None and not self.values:
            raise ValueError("a secret needs valueFrom, or values")
        return self
