"""The projections that come with the engine."""

from stategraph.engine.projections.nested import NestedRunTransformer as _TasksLifecycleBase
from stategraph.engine.projections.nested import SubgraphStatus as SubgraphStatus
