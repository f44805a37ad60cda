"""What the model answers the programs that are written for other frameworks, and what it has to be sent by both."""

from __future__ import annotations

import json

from stategraph.testing import Reply, call, reply


def _quote(number: int) -> dict[str, object]:
    return {"drink": "tea", "number": number, "total": 2.5 * number}


SCRIPTS: dict[str, list[Reply | str]] = {
    "openai_agents": [
        reply(call("price", drink="tea"), usage=(20, 5)),
        reply(json.dumps(_quote(3)), usage=(30, 10)),
        reply(json.dumps(_quote(4)), usage=(40, 10)),
    ],
    "pydantic_ai": [
        reply(call("price", drink="tea")),
        reply(call("final_result_Quote", {**_quote(3), "number": "three"})),
        reply(call("final_result_Quote", _quote(3))),
        reply(call("final_result_Refusal", reason="We sell no beer.")),
        reply(call("price", drink="tea")),
    ],
    "langchain": [reply(call("order", drink="tea", number=3)), "Your three tea are ordered."],
    "mastra": [
        reply(call("price", drink="tea")),
        "Three tea are 7.50.",
        "In a box.",
        "Four tea are 10.00.",
        "In a larger box.",
    ],
    "librechat": [
        reply(call("lc_transfer_to_refunds")),
        reply(call("refund", order=7)),
        "Your money is on its way.",
    ],
}
"""By the name of the framework's file. A typed answer is asked for in each framework's own way."""

SENT: dict[str, list[tuple[str, ...]]] = {
    "openai_agents": [("2.5",), ("Three tea, please.", "One more.")],
    "pydantic_ai": [("2.5",), ("valid integer",), ("A beer.",)],
    "langchain": [("Three tea for [REDACTED_EMAIL].", "3 tea ordered")],
    "mastra": [("2.5",), ("Three tea, please.", "One more."), ("Pack this: Four tea are 10.00.",)],
    "librechat": [("I want my money back for order 7.", "order 7 is refunded")],
}
"""Texts that the model is sent, in the framework and here; those of a tuple together, in one request."""


def never_sent(name: str, requests: list[str]) -> list[tuple[str, ...]]:
    """Return the texts of `SENT` that no request has.

    Args:
        name: The name of the framework's file.
        requests: What the model was sent in each request, as a text.
    """
    return [texts for texts in SENT[name] if not any(all(text in sent for text in texts) for sent in requests)]
