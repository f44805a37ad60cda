"""Resources: agents, workflows and the rest as documents, kept in a store and brought about by controllers.

- `model` has the values, `kind_table` the kinds, `kinds` the models of their specs.
- `loading` reads manifests, `refs` references.
- `store` keeps resources and the log of their changes; `loop` reconciles them, by the controllers of each kind.
- `runtime` is what programs use.

This package stands on `run`, `agent`, `graph`, `governance` and `workers`: everything that is declared becomes one of
theirs, and there is no second executor. Nothing below imports it. It must never know HTTP servers or the command line.

Extras are for parts: `stategraph[resources]` reads manifests, `stategraph[libsql]` keeps resources in such a database,
`stategraph[kubernetes]` has the operator, `stategraph[console]` the console in the terminal.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.resources.blocking import BlockingRuntime as BlockingRuntime
    from stategraph.resources.bus import Event as Event
    from stategraph.resources.bus import EventBus as EventBus
    from stategraph.resources.compile.models import ModelRequest as ModelRequest
    from stategraph.resources.compile.workflows.decompile import NotExpressible as NotExpressible
    from stategraph.resources.compile.workflows.decompile import from_graph as from_graph
    from stategraph.resources.controller import Controller as Controller
    from stategraph.resources.controller import Ctx as Ctx
    from stategraph.resources.controller import Reconciler as Reconciler
    from stategraph.resources.controller import ReconcileResult as ReconcileResult
    from stategraph.resources.errors import ConflictError as ConflictError
    from stategraph.resources.errors import InvalidResource as InvalidResource
    from stategraph.resources.errors import NotReady as NotReady
    from stategraph.resources.errors import ResourceError as ResourceError
    from stategraph.resources.errors import UnknownResource as UnknownResource
    from stategraph.resources.errors import UnresolvedReference as UnresolvedReference
    from stategraph.resources.kind_table import KINDS as KINDS
    from stategraph.resources.kind_table import Kind as Kind
    from stategraph.resources.kind_table import KindTable as KindTable
    from stategraph.resources.loading import ManifestError as ManifestError
    from stategraph.resources.loading import dump as dump
    from stategraph.resources.loading import load as load
    from stategraph.resources.loading import load_text as load_text
    from stategraph.resources.loop.loop import LoopSettings as LoopSettings
    from stategraph.resources.model import Condition as Condition
    from stategraph.resources.model import Metadata as Metadata
    from stategraph.resources.model import OwnerReference as OwnerReference
    from stategraph.resources.model import Resource as Resource
    from stategraph.resources.model import ResourceKey as ResourceKey
    from stategraph.resources.places import Problem as Problem
    from stategraph.resources.places import Source as Source
    from stategraph.resources.runtime import Applied as Applied
    from stategraph.resources.runtime import Runtime as Runtime
    from stategraph.resources.state.blocking import BlockingStateStore as BlockingStateStore
    from stategraph.resources.state.blocking import StateChange as StateChange
    from stategraph.resources.state.store import NetworkStateStore as NetworkStateStore
    from stategraph.resources.state.store import StateStore as StateStore
    from stategraph.resources.state.store import StateStores as StateStores
    from stategraph.resources.store.opening import open_store as open_store
    from stategraph.resources.store.port import Change as Change
    from stategraph.resources.store.port import ResourceStore as ResourceStore
    from stategraph.resources.store.port import WatchGapError as WatchGapError

_PUBLIC = {
    "blocking": ("BlockingRuntime",),
    "compile.models": ("ModelRequest",),
    "compile.workflows.decompile": ("NotExpressible", "from_graph"),
    "bus": ("Event", "EventBus"),
    "controller": ("Controller", "Ctx", "ReconcileResult", "Reconciler"),
    "errors": (
        "ConflictError",
        "InvalidResource",
        "NotReady",
        "ResourceError",
        "UnknownResource",
        "UnresolvedReference",
    ),
    "kind_table": ("KINDS", "Kind", "KindTable"),
    "loading": ("ManifestError", "dump", "load", "load_text"),
    "loop.loop": ("LoopSettings",),
    "model": ("Condition", "Metadata", "OwnerReference", "Resource", "ResourceKey"),
    "places": ("Problem", "Source"),
    "runtime": ("Applied", "Runtime"),
    "state.blocking": ("BlockingStateStore", "StateChange"),
    "state.store": ("NetworkStateStore", "StateStore", "StateStores"),
    "store.opening": ("open_store",),
    "store.port": ("Change", "ResourceStore", "WatchGapError"),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]
