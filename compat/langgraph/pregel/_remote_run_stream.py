"""Private names of the handles of remote runs."""

from stategraph.engine.remote.run import AsyncRemoteRunStream as _AsyncRemoteGraphRunStream
from stategraph.engine.remote.run import ChannelProjection as _ChannelProjection
from stategraph.engine.remote.run import Projections as _ProjectionRegistry
from stategraph.engine.remote.run import RemoteRunStream as _RemoteGraphRunStream
from stategraph.engine.remote.wire import event_run_input as _translate_command_input
