"""The controllers of the built-in kinds, one module each.

Each brings about what its kind declares, through `Ctx` alone: it must never know the store, the loop or other
controllers.
"""

from __future__ import annotations

from typing import Final

from stategraph import import_paths
from stategraph.resources.controller import Controller

#: The controllers, by their import paths: a module is imported when a runtime starts.
CONTROLLERS: Final = (
    "stategraph.resources.controllers.crd:CustomResourceDefinitionController",
    "stategraph.resources.controllers.plugin:PluginController",
    "stategraph.resources.controllers.schedule:ScheduleController",
    "stategraph.resources.controllers.secret:SecretController",
    "stategraph.resources.controllers.system:SystemController",
    "stategraph.resources.controllers.worker:WorkerController",
)


def built_in() -> list[Controller]:
    """Make a controller of each built-in kind that has one."""
    return [import_paths.imported(each, "The controller")() for each in CONTROLLERS]
