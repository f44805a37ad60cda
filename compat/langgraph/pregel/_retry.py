"""Private names around one attempt of a task that packages import."""

from typing import Any

from langchain_core.runnables import RunnableConfig

from stategraph.engine.config.runtime import Runtime
from stategraph.engine.interop import detached_task
from stategraph.engine.interop.detached_task import arun as arun_with_retry
from stategraph.engine.interop.detached_task import run as run_with_retry
from stategraph.engine.tasks.attempt import matches as _should_retry_on
from stategraph.engine.tasks.attempt import parent_ns as _checkpoint_ns_for_parent_command
from stategraph.engine.tasks.timeouts import AttemptContext as _AttemptContext
from stategraph.engine.tasks.timeouts import AttemptEvent as _AttemptEvent
from stategraph.types import PregelExecutableTask


def _ensure_execution_info(runtime: Runtime[Any], config: RunnableConfig, task: PregelExecutableTask) -> Runtime[Any]:
    if runtime.execution_info is not None:
        return runtime
    return runtime.override(execution_info=detached_task.execution_info(config, task.id))
