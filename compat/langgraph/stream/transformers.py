"""The projections that come with the engine."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.events.conversation import MessagesTransformer as MessagesTransformer
from stategraph.engine.events.lifecycle import LifecycleTransformer as LifecycleTransformer
from stategraph.engine.events.modes import CheckpointsTransformer as CheckpointsTransformer
from stategraph.engine.events.modes import CustomTransformer as CustomTransformer
from stategraph.engine.events.modes import DebugTransformer as DebugTransformer
from stategraph.engine.events.modes import TasksTransformer as TasksTransformer
from stategraph.engine.events.modes import UpdatesTransformer as UpdatesTransformer
from stategraph.engine.events.modes import ValuesTransformer as ValuesTransformer
from stategraph.engine.events.nested import NestedRunTransformer as _TasksLifecycleBase
from stategraph.engine.events.nested import SubgraphStatus as SubgraphStatus
from stategraph.engine.events.payload import LifecyclePayload as LifecyclePayload
from stategraph.engine.events.subgraphs import SubgraphTransformer as SubgraphTransformer

__getattr__ = _names_of(__name__)
