"""Private executors that instrumentations wrap; the engine hands its work to threads through a wrapped one."""

from stategraph.engine.threads import BackgroundExecutor as BackgroundExecutor
from stategraph.engine.unreached import AsyncBackgroundExecutor as AsyncBackgroundExecutor
