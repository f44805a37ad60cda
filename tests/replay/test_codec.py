"""Values are written in one form, whatever was imported before."""

from __future__ import annotations

import json
import subprocess
import sys

#: Imports the codec before anything that loads the classes of messages.
PROGRAM = """
import json
from stategraph.replay import codec
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
messages = [
    HumanMessage("a", id="1"), AIMessage("b", id="2"), SystemMessage("c", id="3"),
    ToolMessage("d", tool_call_id="t", id="4"), RemoveMessage(id="1"),
]
encoded = [codec.encode(each) for each in messages]
print(json.dumps({"kinds": [each["$"] for each in encoded], "equal": codec.decode(encoded) == messages}))
"""


def test_messages_have_one_form_even_if_their_classes_are_loaded_later() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"kinds": ["message"] * 5, "equal": True}
