"""Private names around token streams."""

from stategraph.engine.messages import StreamMessagesHandler as StreamMessagesHandler
from stategraph.engine.messages import StreamMessagesHandlerV2 as StreamMessagesHandlerV2
