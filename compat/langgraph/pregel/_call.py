"""Private names of the functional API that packages import."""

from stategraph.engine.compile.task_functions import SyncAsyncFuture as SyncAsyncFuture
from stategraph.engine.compile.task_functions import identifier as identifier
