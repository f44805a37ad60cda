"""Private names that instrumentations wrap; the engine has no such loop."""

from stategraph.engine.interop.instrumentation import AsyncPregelLoop as AsyncPregelLoop
from stategraph.engine.interop.instrumentation import PregelLoop as PregelLoop
from stategraph.engine.interop.instrumentation import SyncPregelLoop as SyncPregelLoop
