"""What a node can ask of the run it is in."""

from stategraph.engine.context import get_config as get_config
from stategraph.engine.context import get_store as get_store
from stategraph.engine.context import get_stream_writer as get_stream_writer
