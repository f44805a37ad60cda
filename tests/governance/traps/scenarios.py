"""Failures that other systems had with approvals, as scenarios: what is asked for, approved, and changed meanwhile.

Each step is a process of its own on the same folder. A system is a program that is given a step as JSON on standard
input and answers with JSON: `effects`, all that was done so far; `waiting`, what people are shown of calls that wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAIL = {"to": "ann@example.com", "body": "hello", "api_key": "sk-live-4242424242424242"}
SENT = ["send_mail", "ann@example.com"]
CALL = {"tool": "send_mail", "args": MAIL, "id": "call-1"}
TOOLS = ["send_mail", "pay"]

TURN = {"do": "turn", "call": CALL, "policy": "ask", "tools": TOOLS}
APPROVE = {"do": "approve", "policy": "ask", "tools": TOOLS}
RESUME = {"do": "resume", "policy": "ask", "tools": TOOLS}

Seen = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Scenario:
    """A failure.

    Attributes:
        name: Its name.
        reported: Where it was reported.
        steps: The steps.
        holds: Whether a system does as it should, by the answers to the steps.
        says: What it should do.
    """

    name: str
    reported: str
    steps: Sequence[Mapping[str, Any]]
    holds: Callable[[Seen], bool]
    says: str


def nothing_done(seen: Seen) -> bool:
    return seen[-1]["effects"] == []


def only(*effects: Sequence[str]) -> Callable[[Seen], bool]:
    return lambda seen: seen[-1]["effects"] == [list(each) for each in effects]


def altered(**changes: Any) -> dict[str, Any]:
    return {**RESUME, "alter": {**CALL, **changes}}


SCENARIOS = (
    Scenario(
        "approved as it was shown",
        "",
        (TURN, APPROVE, RESUME),
        only(SENT),
        "the call is made once",
    ),
    Scenario(
        "other arguments in the stored call",
        "extra-org/extra#139",
        (TURN, APPROVE, altered(args={**MAIL, "to": "eve@evil.example"})),
        nothing_done,
        "what nobody approved is not done",
    ),
    Scenario(
        "another tool in the stored call",
        "extra-org/extra#139",
        (TURN, APPROVE, altered(tool="pay", args={"to": "eve", "cents": 900000})),
        nothing_done,
        "what nobody approved is not done",
    ),
    Scenario(
        "only the id of the call changed",
        "extra-org/extra#139",
        (TURN, APPROVE, altered(id="call-9")),
        only(SENT),
        "the approval stays valid",
    ),
    Scenario(
        "the policy changed while the call was held",
        "openai/openai-agents-python#4896",
        (TURN, APPROVE, {**RESUME, "policy": "ask_again"}),
        nothing_done,
        "the policy is asked again, and a person too",
    ),
    Scenario(
        "the policy was tightened while the call was held",
        "mcp-hangar/mcp-hangar#674",
        (TURN, APPROVE, {**RESUME, "policy": "deny"}),
        nothing_done,
        "what is denied by now is not done",
    ),
    Scenario(
        "the tool was withdrawn while the call was held",
        "mcp-hangar/mcp-hangar#674",
        (TURN, APPROVE, {**RESUME, "tools": ["pay"]}),
        nothing_done,
        "what is gone is not done",
    ),
    Scenario(
        "the approval expired, and the process was restarted",
        "mcp-hangar/mcp-hangar#674",
        (TURN, APPROVE, {**RESUME, "later_s": 3600}),
        nothing_done,
        "an approval is valid for 15 minutes",
    ),
    Scenario(
        "the same tool again, with other arguments",
        "NousResearch/hermes-agent#95247",
        (TURN, APPROVE, RESUME, {**TURN, "call": {**CALL, "id": "call-2", "args": {**MAIL, "to": "eve@evil.example"}}}),
        lambda seen: seen[-1]["effects"] == [SENT] and len(seen[-1]["waiting"]) == 1,
        "one approval is for one action",
    ),
    Scenario(
        "what a person is shown",
        "kortix-ai/suna#5862",
        (TURN,),
        lambda seen: "ann@example.com" in str(seen[-1]["waiting"]) and MAIL["api_key"] not in str(seen[-1]["waiting"]),
        "where the mail goes, and not the key",
    ),
)
