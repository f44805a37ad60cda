"""The model that every framework talks to: OpenAI's API on this machine; its answers follow from what is asked."""

from __future__ import annotations

import re
from typing import Any

from stategraph.testing.openai_server import FakeOpenAIServer
from stategraph.testing.script import Answer, Failure, ModelRequest, Script, call, reply

#: What the model says when it is told to fail.
BROKEN = "the scripted model is broken"

#: Words of the answer that takes its time, and seconds between two of them.
SLOW_WORDS, SLOW_S = 200, 0.1


def model() -> FakeOpenAIServer:
    """Return the model's server, which is not started."""
    return FakeOpenAIServer(Script([_answer], repeat_last=True), strict=False)


def _answer(request: ModelRequest[dict[str, Any]]) -> Answer:
    said = [(each.get("role"), _text(each.get("content"))) for each in request.messages]
    asked = [text for role, text in said if role == "user"]
    last = asked[-1] if asked else ""
    used = (11, 7)
    if said and said[-1][0] == "tool":
        return reply(f"The weather: {said[-1][1]}", usage=used)
    if found := re.search(r"weather in (\w+)", last):
        return reply(call("weather", city=found[1]), usage=used)
    if "fail" in last:
        return Failure(400, BROKEN)
    if "slowly" in last:
        return reply("word " * SLOW_WORDS, gap_s=SLOW_S, usage=used)
    if "who am I" in last:
        names = [found[1] for text in asked if (found := re.search(r"my name is (\w+)", text))]
        return reply(f"You are {names[-1] if names else 'nobody that I know'}", usage=used)
    return reply("Good morning to you all", usage=used)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(each.get("text", "")) for each in content or () if isinstance(each, dict))
