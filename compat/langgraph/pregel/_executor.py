"""Private executors that instrumentations wrap; the engine hands its work to threads through a wrapped one."""

from stategraph.engine.interop.instrumentation import AsyncBackgroundExecutor as AsyncBackgroundExecutor
from stategraph.engine.tasks.threads import BackgroundExecutor as BackgroundExecutor
