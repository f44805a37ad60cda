"""Private names of the functional API that packages import."""

from stategraph.engine.call import SyncAsyncFuture as SyncAsyncFuture
from stategraph.engine.call import identifier as identifier
