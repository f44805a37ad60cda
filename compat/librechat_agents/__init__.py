"""The names of the TypeScript package `@librechat/agents`, for hosts that are ported from it.

Classes and functions are `stategraph`'s and LangChain's, under the camelCase names as well as under their own, and
small functions that hosts call around them. What takes or gives an options object does so as a mapping with camelCase
keys. `docs/librechat.md` lists the names that are left out, and why.
"""

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import get_buffer_string as getBufferString
from langchain_core.messages import messages_from_dict as mapStoredMessagesToChatMessages
from langchain_core.messages import messages_to_dict as mapChatMessagesToStoredMessages
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableSequence
from langchain_core.tools import StructuredTool, Tool, tool
from langchain_core.tools import StructuredTool as DynamicStructuredTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver as MemorySaver

from stategraph import (
    AbortController,
    AbortSignal,
    ChatModelStreamHandler,
    Command,
    ContentTypes,
    GraphEvents,
    HookRegistry,
    ModelEndHandler,
    Providers,
    StepTypes,
    ToolEndHandler,
    interrupt,
)
from stategraph import add_messages as messagesStateReducer
from stategraph import ask_user_question as askUserQuestion
from stategraph import compose_event_handlers as composeEventHandlers
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.graph.message import REMOVE_ALL_MESSAGES

from .constants import *
from .counting import *
from .enums import *
from .formatting import *
from .hooks import *
from .hosting import *
from .models import *
from .predicates import *
from .tools import *
from .values import *
