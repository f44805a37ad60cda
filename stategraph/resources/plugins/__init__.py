"""Plug-ins: code of others that offers tools, controllers and hooks, isolated by how far it is trusted.

- `api` is what an author imports; `spec` what is declared of a plug-in; `permissions` what its trust level permits.
- `host` runs plug-ins: `supervisor` keeps each of them running by the table in `lifecycle`, in a thread (`threads`), a
  process (`process`, and `child` on its side) or a sandbox (`sandbox`).

It must never know resources and their stores: `stategraph.resources.controllers` tells it what is declared.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.resources.plugins.api import Plugin as Plugin
    from stategraph.resources.plugins.api import PluginContext as PluginContext
    from stategraph.resources.plugins.errors import IsolationUnavailable as IsolationUnavailable
    from stategraph.resources.plugins.errors import PluginCallError as PluginCallError
    from stategraph.resources.plugins.errors import PluginError as PluginError
    from stategraph.resources.plugins.errors import PluginPermissionError as PluginPermissionError
    from stategraph.resources.plugins.errors import PluginStartError as PluginStartError
    from stategraph.resources.plugins.errors import PluginTimeout as PluginTimeout
    from stategraph.resources.plugins.errors import PluginUnavailable as PluginUnavailable
    from stategraph.resources.plugins.host import PluginHost as PluginHost
    from stategraph.resources.plugins.lifecycle import PluginState as PluginState
    from stategraph.resources.plugins.spec import PluginLimits as PluginLimits
    from stategraph.resources.plugins.spec import PluginSpec as PluginSpec
    from stategraph.resources.plugins.statistics import PluginStatus as PluginStatus
    from stategraph.resources.plugins.tools import register_hooks as register_hooks
    from stategraph.resources.plugins.tools import tools_of as tools_of

__all__, __getattr__ = _loader(
    globals(),
    {
        "api": ("Plugin", "PluginContext"),
        "errors": (
            "IsolationUnavailable",
            "PluginCallError",
            "PluginError",
            "PluginPermissionError",
            "PluginStartError",
            "PluginTimeout",
            "PluginUnavailable",
        ),
        "host": ("PluginHost",),
        "lifecycle": ("PluginState",),
        "spec": ("PluginLimits", "PluginSpec"),
        "statistics": ("PluginStatus",),
        "tools": ("register_hooks", "tools_of"),
    },
)
