"""The node that checks tool calls."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.prebuilt.validation_node import ValidationNode
from stategraph.prebuilt.validation_node import default_text as _default_format_error

__getattr__ = _names_of(__name__)
