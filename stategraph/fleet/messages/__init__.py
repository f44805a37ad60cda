"""Messages of other frameworks, from one shape to another through a common one.

`convert(messages, "a2a", "langchain")` reads the messages of one format and writes them in another; `FORMATS` lists
them. What a format cannot say is in its `losses`, and `convert` tells of each thing that was left out.

The formats are those of the frameworks' own JSON, so that none of them has to be installed; only `langchain` reads and
writes objects, as graphs do.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.fleet.messages.common import Data as Data
    from stategraph.fleet.messages.common import File as File
    from stategraph.fleet.messages.common import Message as Message
    from stategraph.fleet.messages.common import MessageError as MessageError
    from stategraph.fleet.messages.common import Part as Part
    from stategraph.fleet.messages.common import Reasoning as Reasoning
    from stategraph.fleet.messages.common import Text as Text
    from stategraph.fleet.messages.common import ToolCall as ToolCall
    from stategraph.fleet.messages.common import ToolResult as ToolResult
    from stategraph.fleet.messages.conversion import FORMATS as FORMATS
    from stategraph.fleet.messages.conversion import Converted as Converted
    from stategraph.fleet.messages.conversion import convert as convert
    from stategraph.fleet.messages.conversion import read as read
    from stategraph.fleet.messages.conversion import write as write

_PUBLIC = {
    "common": ("Data", "File", "Message", "MessageError", "Part", "Reasoning", "Text", "ToolCall", "ToolResult"),
    "conversion": ("FORMATS", "Converted", "convert", "read", "write"),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)
