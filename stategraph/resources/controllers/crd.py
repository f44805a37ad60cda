"""CustomResourceDefinition: lets there be a kind, with its schema and its controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, cast

from stategraph import import_paths
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources import refs
from stategraph.resources.controller import Controller, Ctx, Reconciler, ReconcileResult
from stategraph.resources.errors import InvalidResource, NotReady, UnresolvedReference
from stategraph.resources.kind_table import DEFAULT_NAMESPACE, KINDS, Kind
from stategraph.resources.kinds.crd import CustomResourceDefinitionSpec
from stategraph.resources.model import Condition, Resource, ResourceKey
from stategraph.resources.plugins.discovery import permits
from stategraph.resources.plugins.errors import PluginError

#: The beginning of a handler that is a plug-in.
_PLUGIN: Final = "plugin/"


class KeepingController(Reconciler):
    """Keeps the resources of a kind that nobody reconciles: they are ready once they fit its schema.

    Args:
        kind: The kind.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Say that it is accepted; the loop has checked its spec."""
        ctx.spec(resource)  # a variable that is not set is told
        return ReconcileResult([Condition("Ready", "True", "Accepted", "it fits the schema of its kind")])


class PluginKindController:
    """Has a plug-in reconcile a kind.

    Args:
        kind: The kind.
        plugin: The key of the Plugin.
    """

    depends_on: ClassVar[tuple[str, ...]] = ("Plugin",)

    def __init__(self, kind: str, plugin: ResourceKey) -> None:
        self.kind = kind
        self._plugin = plugin

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Ask the plug-in, within the time limit of its declaration."""
        answer = await self._asked("reconcile", resource, ctx)
        if not isinstance(answer, Mapping):
            raise NotReady(
                f"{self._plugin} answered with a {type(answer).__name__}; expected a mapping", reason="BadAnswer"
            )
        try:
            conditions = [
                Condition(str(each["type"]), each["status"], str(each.get("reason", "")), str(each.get("message", "")))
                for each in answer.get("conditions", ())
            ]
            status = {str(key): value for key, value in dict(answer.get("status", {})).items()}
            later = answer.get("requeueAfter")
            return ReconcileResult(conditions, status, None if later is None else max(0.1, float(later)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotReady(f"the answer of {self._plugin} cannot be read: {error!r}", reason="BadAnswer") from error

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """Ask the plug-in, if it cleans up after this kind."""
        running = await ctx.compiled(self._plugin)
        if not running.offers.controllers.get(self.kind):
            return True
        return bool(await self._asked("finalize", resource, ctx))

    async def _asked(self, what: str, resource: Resource, ctx: Ctx) -> Any:
        running = await ctx.compiled(self._plugin)
        document = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": resource.name,
                "namespace": resource.namespace,
                "labels": dict(resource.metadata.labels),
                "uid": resource.metadata.uid,
                "generation": resource.metadata.generation,
            },
            "spec": dict(ctx.spec(resource)),
            "status": dict(resource.status),
        }
        try:
            return await running.host.ask(running.name, what, self.kind, document)
        except PluginError as error:
            raise NotReady(f"{self._plugin}: {error}", reason="PluginFailed") from error


class CustomResourceDefinitionController:
    """Defines kinds, in every process that has the store."""

    kind: ClassVar[str] = "CustomResourceDefinition"
    depends_on: ClassVar[tuple[str, ...]] = ()
    everywhere: ClassVar[bool] = True

    def __init__(self) -> None:
        self._made: dict[ResourceKey, tuple[object, Controller]] = {}

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Let there be the kind."""
        spec = ctx.parsed(resource)
        assert isinstance(spec, CustomResourceDefinitionSpec)
        names = spec.names
        if resource.name != f"{names.plural}.{spec.group}":
            raise InvalidResource(
                f"its name is {resource.name!r}; expected '{names.plural}.{spec.group}', of plural and group",
                path=("metadata", "name"),
                reason="WrongName",
            )
        words = (names.kind, names.plural, *names.short_names)
        taken = next((each for each in words if KINDS.get(each) is not None), None)
        if taken is not None:
            raise InvalidResource(
                f"{taken!r} is a word for a built-in kind", path=("spec", "names"), reason="NamesNotAccepted"
            )
        other = ctx.kinds.get(names.kind)
        if other is not None and other.group != spec.group:
            raise InvalidResource(
                f"the kind {names.kind} is defined by the group {other.group} already",
                path=("spec", "names", "kind"),
                reason="NamesNotAccepted",
            )
        schema = _checked(spec)
        kind = Kind(
            names.kind,
            names.plural,
            names.short_names,
            (names.singular,) if names.singular and names.singular != names.kind.lower() else (),
            spec.scope == "Namespaced",
            None,
            schema,
            spec.group,
        )
        controller, told = await self._controller(resource, spec, ctx)
        ctx.define_kind(kind, controller)
        return ReconcileResult(
            [Condition("Established", "True", "NamesAccepted", f"resources of the kind {names.kind} are reconciled")],
            {"acceptedNames": {"kind": names.kind, "plural": names.plural}, "handler": told},
        )

    async def _controller(
        self, resource: Resource, spec: CustomResourceDefinitionSpec, ctx: Ctx
    ) -> tuple[Controller, str]:
        """Return the controller of a kind, the same one while nothing changes, and what it is."""
        kind, handler = spec.names.kind, spec.handler
        plugin: ResourceKey | None = None
        if handler is not None and handler.startswith(_PLUGIN):
            # A definition has no namespace: it names that of the plug-in, or means the default one.
            plugin = refs.parse(handler).key("Plugin", DEFAULT_NAMESPACE)
            if await ctx.get(plugin) is None:
                raise UnresolvedReference(f"there is no {plugin}", path=("spec", "handler"))
            running = await ctx.compiled(plugin, path=("spec", "handler"))
            if kind not in running.offers.controllers:
                there = ", ".join(sorted(running.offers.controllers)) or "none"
                raise NotReady(
                    f"{plugin} has no controller of the kind {kind}; it has: {there}",
                    path=("spec", "handler"),
                    reason="HandlerMissing",
                )
        elif handler is None:
            plugin = await _offering(kind, ctx)
        made_of: object = plugin or handler or kind
        known = self._made.get(resource.key)
        if known is None or known[0] != made_of:
            controller: Controller
            if plugin is not None:
                controller = cast("Controller", PluginKindController(kind, plugin))
            elif handler is not None:
                controller = _imported(handler, kind, ctx)
            else:
                controller = cast("Controller", KeepingController(kind))
            known = self._made[resource.key] = made_of, controller
        return known[1], str(plugin or handler or "none: its resources are checked and kept")

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """Take the kind back, once there are no resources of it."""
        names = resource.spec.get("names")
        kind = names.get("kind") if isinstance(names, Mapping) else None
        if not isinstance(kind, str) or KINDS.get(kind) is not None:
            return True
        if await ctx.list(kind):
            return False
        ctx.undefine_kind(kind)
        self._made.pop(resource.key, None)
        return True


async def _offering(kind: str, ctx: Ctx) -> ResourceKey | None:
    """Return the first plug-in that registered a controller of a kind."""
    for each in await ctx.list("Plugin"):
        try:
            running = await ctx.compiled(each.key)
        except NotReady:
            continue
        if kind in running.offers.controllers:
            return each.key
    return None


def _imported(handler: str, kind: str, ctx: Ctx) -> Controller:
    """Return the controller that an import path names.

    Raises:
        InvalidResource: It is not allowed, not there, or no controller.
    """
    path = ("spec", "handler")
    try:
        module, _ = import_paths.parts(handler, "The handler")
        if not permits(ctx.allow, module):
            raise InvalidResource(
                f"the module '{module}' may not be imported; allowed: {', '.join(ctx.allow) or 'none'}. Allow it where "
                "the runtime is made (allow=, --allow)",
                path=path,
                reason="NotPermitted",
            )
        made: Any = import_paths.imported(handler, "The handler")
        controller: Controller = made() if isinstance(made, type) else made
    except ConfigurationError as error:
        raise InvalidResource(str(error), path=path) from error
    if not (hasattr(controller, "reconcile") and hasattr(controller, "finalize")):
        raise InvalidResource(f"{handler!r} is no controller: expected reconcile and finalize", path=path)
    if str(controller.kind).lower() != kind.lower():
        raise InvalidResource(f"{handler!r} is a controller of {controller.kind}; expected {kind}", path=path)
    return controller


def _checked(spec: CustomResourceDefinitionSpec) -> dict[str, Any] | None:
    """Return the schema of the spec of a kind's resources.

    Raises:
        InvalidResource: It is no schema.
        MissingPackageError: `jsonschema` is not installed.
    """
    schema = spec.spec_schema()
    if schema is None:
        return None
    found = _without_null(schema)
    try:
        from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]  # an extra
    except ImportError as error:
        raise MissingPackageError("stategraph[resources]", "The schema of a custom kind") from error
    try:
        Draft202012Validator.check_schema(found)
    except SchemaError as error:
        raise InvalidResource(
            f"it is no schema: {error.message}", path=("spec", "validation", "openAPIV3Schema", *error.absolute_path)
        ) from error
    closed = bool(found.get("properties")) and "additionalProperties" not in found
    if closed and not (spec.preserve_unknown_fields or found.get("x-kubernetes-preserve-unknown-fields")):
        return {**found, "additionalProperties": False}
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which `properties:` with nothing behind it is a mapping."""
    return {**schema, "properties": schema.get("properties") or {}} if "properties" in schema else dict(schema)
