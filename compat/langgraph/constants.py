"""Names of the virtual nodes, and tags."""

from typing import Any
from warnings import warn

from stategraph import constants, types
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER, END, START, TAG_HIDDEN, TAG_NOSTREAM, TASKS
from stategraph.dropin_names import names_of
from stategraph.warnings import LangGraphDeprecatedSinceV10

__all__ = ("CONF", "CONFIG_KEY_CHECKPOINTER", "END", "START", "TAG_HIDDEN", "TAG_NOSTREAM", "TASKS")

_imported = names_of(__name__)


def __getattr__(name: str) -> Any:
    """Serve a name that used to be here, with the warning that it has moved."""
    if name in ("Send", "Interrupt"):
        home, advice = types, f"Please use 'from langgraph.types import {name}' instead."
    elif hasattr(constants, name) and not name.startswith("_"):
        home, advice = constants, "This constant is now private and should not be used directly."
    else:
        return _imported(name)
    warn(f"Importing {name} from {__name__} is deprecated. {advice}", LangGraphDeprecatedSinceV10, stacklevel=2)
    return getattr(home, name)
