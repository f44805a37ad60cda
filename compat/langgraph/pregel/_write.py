"""How a node writes the state."""

from stategraph.engine.write import PASSTHROUGH as PASSTHROUGH
from stategraph.engine.write import SKIP_WRITE as SKIP_WRITE
from stategraph.engine.write import ChannelWrite as ChannelWrite
from stategraph.engine.write import ChannelWriteEntry as ChannelWriteEntry
from stategraph.engine.write import ChannelWriteTupleEntry as ChannelWriteTupleEntry
