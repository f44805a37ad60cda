"""Sees that no model is asked past the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from langchain_core.callbacks import BaseCallbackHandler

from stategraph.replay import asking, standins


class Guard(BaseCallbackHandler):
    """Refuses calls of models whose answers are neither recorded nor replayed, before anything is sent.

    Args:
        refuse: Raises the error of what a message says.
    """

    raise_error = True
    run_inline = True

    def __init__(self, refuse: Callable[[str], NoReturn]) -> None:
        self._refuse = refuse

    def on_chat_model_start(self, serialized: Any, messages: object, **_: object) -> None:
        """Refuse a chat model that is not recorded."""
        if asking.inside.get() is None and not (serialized or {}).get(standins.MARK):
            self._refuse_model(serialized, "wrap it: model = recorded(model), before tools are bound to it")

    def on_llm_start(self, serialized: Any, prompts: object, **_: object) -> None:
        """Refuse a model of texts."""
        if asking.inside.get() is None:
            self._refuse_model(serialized, "call it in a function that is marked with @recorded")

    def _refuse_model(self, serialized: Any, advice: str) -> NoReturn:
        name = ((serialized or {}).get("id") or ["of an unknown class"])[-1]
        node = asking.here()
        who = f"Node '{node}'" if node else "The graph"
        self._refuse(f"{who} asks a model ({name}) that is not recorded, so a replay would ask it, too: {advice}")
