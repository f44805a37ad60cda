"""CustomResourceDefinition: a kind of somebody's own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from stategraph.resources.kinds.base import Spec


class Names(Spec):
    """The words for a kind."""

    kind: str = Field(pattern=r"^[A-Z][A-Za-z0-9]*$", description="As in manifests: 'DataSource'.")
    plural: str = Field(pattern=r"^[a-z][a-z0-9]*$", description="As in commands: 'datasources'.")
    singular: str | None = Field(None, pattern=r"^[a-z][a-z0-9]*$", description="One of them.")
    short_names: tuple[str, ...] = Field((), description="Shorter words.")
    list_kind: str | None = Field(None, description="Of lists; Kubernetes has it, nothing here needs it.")
    categories: tuple[str, ...] = Field((), description="Of Kubernetes; nothing here needs them.")


class Validation(Spec):
    """The schema of a kind."""

    open_api_v3_schema: dict[str, Any] = Field(
        default_factory=dict,
        alias="openAPIV3Schema",
        description="OpenAPI 3 schema of the whole resource, or of its spec alone.",
    )


class Version(Spec):
    """A version of a kind, as apiextensions.k8s.io/v1 has it."""

    name: str = Field(pattern=r"^v[0-9]+((alpha|beta)[0-9]+)?$", description="Such as 'v1' or 'v1alpha1'.")
    served: bool = True
    storage: bool = True
    schema_: Validation | None = Field(None, alias="schema")
    subresources: dict[str, Any] = Field(default_factory=dict, description="Of Kubernetes; nothing here needs them.")
    additional_printer_columns: tuple[dict[str, Any], ...] = Field((), description="Of Kubernetes.")


class CustomResourceDefinitionSpec(Spec):
    """A kind: its group, its words, its schema, and who reconciles it."""

    group: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="Its group: 'mastra.ai'.")
    names: Names
    scope: Literal["Namespaced", "Cluster"] = Field("Namespaced", description="Whether its resources have a namespace.")
    validation: Validation | None = Field(None, description="Its schema.")
    versions: tuple[Version, ...] = Field((), description="Its versions; none: v1 and v1alpha1.")
    handler: str | None = Field(
        None,
        min_length=1,
        description="Import path of its controller, 'package.module:Controller', or 'plugin/name'; none: a plugin that "
        "registered the kind, or nobody: its resources are checked and kept.",
    )
    preserve_unknown_fields: bool = Field(False, description="Whether a schema lets unknown fields be.")

    @model_validator(mode="after")
    def _storage(self) -> CustomResourceDefinitionSpec:
        if self.versions and sum(each.storage for each in self.versions) != 1:
            raise ValueError("exactly one version has storage: true")
        return self

    def spec_schema(self) -> dict[str, Any] | None:
        """Return the schema of the spec of its resources; None if there is none."""
        stored = next((each.schema_ for each in self.versions if each.storage and each.schema_ is not None), None)
        found = stored or self.validation
        if found is None or not found.open_api_v3_schema:
            return None
        schema = found.open_api_v3_schema
        properties = schema.get("properties") or {}
        if isinstance(properties.get("spec"), dict):
            return dict(properties["spec"])
        if "status" in properties or set(properties) & {"apiVersion", "metadata"}:
            return None  # it says nothing of the spec
        return {**schema, "properties": properties}
