"""The projections that come with the engine."""

from stategraph.engine.events.nested import NestedRunTransformer as _TasksLifecycleBase
from stategraph.engine.events.nested import SubgraphStatus as SubgraphStatus
