"""Payloads of the debug stream."""

from stategraph.stream_parts import CheckpointPayload as CheckpointPayload
from stategraph.stream_parts import CheckpointTask as CheckpointTask
from stategraph.stream_parts import TaskPayload as TaskPayload
from stategraph.stream_parts import TaskResultPayload as TaskResultPayload
