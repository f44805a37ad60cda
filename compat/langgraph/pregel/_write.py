"""Writers of a node."""

from stategraph.engine.compile.write import PASSTHROUGH as PASSTHROUGH
from stategraph.engine.compile.write import SKIP_WRITE as SKIP_WRITE
from stategraph.engine.compile.write import ChannelWrite as ChannelWrite
from stategraph.engine.compile.write import ChannelWriteEntry as ChannelWriteEntry
from stategraph.engine.compile.write import ChannelWriteTupleEntry as ChannelWriteTupleEntry
