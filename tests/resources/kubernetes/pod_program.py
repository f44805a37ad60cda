"""What an image has besides stategraph: the program's own modules, here a model that needs no key."""

from __future__ import annotations

from typing import Any

from stategraph.testing import Script, ScriptedChatModel


def services() -> dict[str, Any]:
    """Return what controllers are given."""
    replies = Script(["Leek soup"], repeat_last=True)
    return {"model_factory": lambda *given, **options: ScriptedChatModel(replies=replies)}
