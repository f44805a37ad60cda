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
    "stategraph.resources.controllers.agent:AgentController",
    "stategraph.resources.controllers.crd:CustomResourceDefinitionController",
    "stategraph.resources.controllers.mcp_server:MCPServerController",
    "stategraph.resources.controllers.model:ModelController",
    "stategraph.resources.controllers.network:NetworkController",
    "stategraph.resources.controllers.plugin:PluginController",
    "stategraph.resources.controllers.policy:BudgetController",
    "stategraph.resources.controllers.policy:PolicyController",
    "stategraph.resources.controllers.schedule:ScheduleController",
    "stategraph.resources.controllers.secret:SecretController",
    "stategraph.resources.controllers.skill:SkillController",
    "stategraph.resources.controllers.system:SystemController",
    "stategraph.resources.controllers.tool:ToolController",
    "stategraph.resources.controllers.worker:WorkerController",
    "stategraph.resources.controllers.workflow:WorkflowController",
)


def built_in() -> list[Controller]:
    """Make a controller of each built-in kind that has one."""
    return [import_paths.imported(each, "The controller")() for each in CONTROLLERS]
