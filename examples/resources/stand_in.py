"""A model that needs no key, for the example: `--services stand_in:services`."""

from typing import Any

from stategraph.testing import Script, ScriptedChatModel


def services() -> dict[str, Any]:
    replies = Script(["leek soup"], repeat_last=True)
    return {"model_factory": lambda *given, **options: ScriptedChatModel(replies=replies)}
