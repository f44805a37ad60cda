"""Payloads of the debug stream."""

from uuid import UUID

from stategraph.core.output import fold as map_task_result_writes
from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.interop.inspection import COLOR_CODES as COLOR_MAPPING
from stategraph.engine.interop.inspection import get_bolded_text as get_bolded_text
from stategraph.engine.interop.inspection import get_colored_text as get_colored_text
from stategraph.engine.interop.inspection import is_multiple_channel_write as is_multiple_channel_write
from stategraph.engine.interop.inspection import map_debug_checkpoint as map_debug_checkpoint
from stategraph.engine.interop.inspection import map_debug_task_results as map_debug_task_results
from stategraph.engine.interop.inspection import map_debug_tasks as map_debug_tasks
from stategraph.engine.interop.inspection import rm_pregel_keys as rm_pregel_keys
from stategraph.engine.interop.inspection import tasks_w_writes as tasks_w_writes
from stategraph.stream_parts import CheckpointPayload as CheckpointPayload
from stategraph.stream_parts import CheckpointTask as CheckpointTask
from stategraph.stream_parts import TaskPayload as TaskPayload
from stategraph.stream_parts import TaskResultPayload as TaskResultPayload

__getattr__ = _names_of(__name__)

TASK_NAMESPACE = UUID("6ba7b831-9dad-11d1-80b4-00c04fd430c8")
