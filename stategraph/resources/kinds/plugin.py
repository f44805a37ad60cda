"""Plugin: code of others that offers tools, controllers and hooks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictInt, model_validator

from stategraph.resources.kinds.base import Ref, Spec, TargetSpec
from stategraph.resources.plugins.permissions import Isolation, Trust

_Positive = Annotated[StrictInt, Field(gt=0)]
_Seconds = Annotated[float, Field(gt=0)]


class SecretValueOf(Spec):
    """A value of a Secret."""

    secret: Ref = Field(description="The Secret.")
    key: str | None = Field(None, min_length=1, description="Which of its values; needed if it has several.")


class PluginLimitsSpec(Spec):
    """Limits of a plug-in and its process."""

    call_seconds: _Seconds = Field(30.0, description="Seconds that a call into it may take.")
    start_seconds: _Seconds = Field(30.0, description="Seconds that it may take to start.")
    drain_seconds: _Seconds = Field(10.0, description="Seconds that its calls have to end when it is replaced.")
    memory_mebibytes: _Positive = Field(512, alias="memoryMiB", description="Address space of its process, in MiB.")
    cpu_seconds: _Positive | None = Field(None, description="Processor time of one process of it, in seconds.")
    files: _Positive = Field(256, description="File descriptors of its process.")
    processes: _Positive | None = Field(None, description="Processes of its user, where the kernel keeps this limit.")
    calls: _Positive = Field(64, description="Calls into it at a time.")


class PluginSpec(TargetSpec):
    """A plug-in, named by an entry point or by a module."""

    package: str | None = Field(
        None, min_length=1, description="Name of an entry point in the group 'stategraph.plugins'."
    )
    module: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="Import path of its class, 'package.module:Class', under an allowed prefix.",
    )
    trust: Trust = Field("public", description="How far it is trusted: decides where it runs and what it may do.")
    isolation: Isolation | None = Field(None, description="Where it runs, if stricter than its trust level asks.")
    permissions: tuple[str, ...] = Field(("tools",), description="What it may do.")
    config: dict[str, Any] = Field(default_factory=dict, description="Its configuration.")
    config_file: str | None = Field(
        None, min_length=1, description="A file with its configuration (JSON, YAML or TOML), under 'config'."
    )
    secrets: dict[str, SecretValueOf] = Field(
        default_factory=dict, description="Fields of its configuration, with dots, that are values of Secrets."
    )
    limits: PluginLimitsSpec = Field(default_factory=lambda: PluginLimitsSpec.model_validate({}), description="Limits.")
    health_seconds: _Seconds = Field(30.0, description="Seconds between health checks.")

    @model_validator(mode="after")
    def _one(self) -> PluginSpec:
        if (self.package is None) == (self.module is None):
            found = "neither" if self.package is None else "both"
            raise ValueError(f"a plugin is named by one of package and module; found {found}")
        return self
