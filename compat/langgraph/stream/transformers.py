"""The projections that come with the engine."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.streams.events.conversation import MessagesTransformer as MessagesTransformer
from stategraph.engine.streams.events.lifecycle import LifecycleTransformer as LifecycleTransformer
from stategraph.engine.streams.events.modes import CheckpointsTransformer as CheckpointsTransformer
from stategraph.engine.streams.events.modes import CustomTransformer as CustomTransformer
from stategraph.engine.streams.events.modes import DebugTransformer as DebugTransformer
from stategraph.engine.streams.events.modes import TasksTransformer as TasksTransformer
from stategraph.engine.streams.events.modes import UpdatesTransformer as UpdatesTransformer
from stategraph.engine.streams.events.modes import ValuesTransformer as ValuesTransformer
from stategraph.engine.streams.events.nested import NestedRunTransformer as _TasksLifecycleBase
from stategraph.engine.streams.events.nested import SubgraphStatus as SubgraphStatus
from stategraph.engine.streams.events.payload import LifecyclePayload as LifecyclePayload
from stategraph.engine.streams.events.subgraphs import SubgraphTransformer as SubgraphTransformer

__getattr__ = _names_of(__name__)
