"""Messages that carry user interface."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.graph.ui import (
    AnyUIMessage,
    RemoveUIMessage,
    UIMessage,
    delete_ui_message,
    push_ui_message,
    ui_message_reducer,
)

__all__ = ("AnyUIMessage", "RemoveUIMessage", "UIMessage", "delete_ui_message", "push_ui_message", "ui_message_reducer")

__getattr__ = _names_of(__name__)
