"""Private names around token streams."""

from stategraph.engine.streams.messages import StreamMessagesHandler as StreamMessagesHandler
from stategraph.engine.streams.messages import StreamMessagesHandlerV2 as StreamMessagesHandlerV2
