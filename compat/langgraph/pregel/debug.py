"""Payloads of the debug stream."""

from stategraph.core.output import fold as map_task_result_writes
from stategraph.engine.inspection import get_bolded_text as get_bolded_text
from stategraph.engine.inspection import get_colored_text as get_colored_text
from stategraph.engine.inspection import is_multiple_channel_write as is_multiple_channel_write
from stategraph.engine.inspection import map_debug_checkpoint as map_debug_checkpoint
from stategraph.engine.inspection import map_debug_task_results as map_debug_task_results
from stategraph.engine.inspection import map_debug_tasks as map_debug_tasks
from stategraph.engine.inspection import rm_pregel_keys as rm_pregel_keys
from stategraph.engine.inspection import tasks_w_writes as tasks_w_writes
from stategraph.stream_parts import CheckpointPayload as CheckpointPayload
from stategraph.stream_parts import CheckpointTask as CheckpointTask
from stategraph.stream_parts import TaskPayload as TaskPayload
from stategraph.stream_parts import TaskResultPayload as TaskResultPayload
