"""Has `ag-ui-validate` look at a run of each feature, and prints its reports as JSON: run in the judge's environment.

python drive.py http://127.0.0.1:2024
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from uuid import uuid4

from ag_ui_validate import ValidatorOptions
from ag_ui_validate.transport import TransportError, TransportOptions, validate_endpoint

#: By feature, as the validator calls it: the graph, and events without which it is not exercised.
FEATURES = {
    "agentic-chat": ("chat", ("TEXT_MESSAGE_CONTENT", "RUN_FINISHED")),
    "backend-tool-rendering": ("backend", ("TOOL_CALL_START", "RUN_FINISHED")),
    "human-in-the-loop": ("human", ("TOOL_CALL_START", "RUN_FINISHED")),
    "agentic-generative-ui": ("generative", ("STATE_SNAPSHOT",)),
    "tool-based-generative-ui": ("frontend", ("TOOL_CALL_ARGS", "TOOL_CALL_END")),
    "shared-state": ("shared", ("STATE_SNAPSHOT",)),
    "predictive-state-updates": ("predictive", ("CUSTOM", "TOOL_CALL_ARGS")),
    "subgraphs": ("subgraphs", ("TEXT_MESSAGE_CONTENT", "RUN_FINISHED")),
}

HAIKU = {"name": "show_haiku", "description": "Show it.", "parameters": {"type": "object", "properties": {}}}


async def look(url: str, feature: str, thread_id: str, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a feature's graph once; return the report, and the events."""
    graph, needed = FEATURES[feature]
    message = {"id": "user-1", "role": "user", "content": "Please."}
    given = {
        "threadId": thread_id,
        "runId": str(uuid4()),
        "protocolVersion": "1.0",
        "state": {},
        "messages": [message],
        "tools": [HAIKU] if graph == "frontend" else [],
        "context": [],
        "forwardedProps": {},
        **more,
    }
    events: list[dict[str, Any]] = []

    def seen(raw: Any, found: Any) -> None:
        events.append(json.loads(raw) if isinstance(raw, str) else raw)

    declared = [feature] if feature != "subgraphs" else []
    options = TransportOptions(
        input=given, validator=ValidatorOptions(features=declared), timeout_ms=60_000, on_event=seen
    )
    try:
        result = await validate_endpoint(f"{url}/agui/{graph}", options)
    except TransportError as error:
        return {"feature": feature, "events": 0, "errors": 1, "warnings": 0, "notes": [str(error)]}, []
    report = result.report
    kinds = {each.get("type") for each in events}
    missing = [each for each in needed if each not in kinds and not more]
    notes = [f"{each.rule}: {each.message}" for each in report.diagnostics]
    return {
        "feature": feature + (" (resumed)" if more else ""),
        "events": report.event_count,
        "errors": report.summary.errors + len(missing),
        "warnings": report.summary.warnings,
        "info": report.summary.info,
        "notes": [*notes, *(f"no {each}" for each in missing)],
    }, events


async def main() -> None:
    url = sys.argv[1]
    reports = []
    for feature in FEATURES:
        thread_id = str(uuid4())
        report, events = await look(url, feature, thread_id)
        reports.append(report)
        if feature != "human-in-the-loop" or not events:
            continue
        outcome = events[-1].get("outcome") or {}
        asked = outcome.get("interrupts") or []
        if asked:
            resume = [
                {"interruptId": each["id"], "status": "resolved", "payload": {"approved": True}} for each in asked
            ]
            report, _ = await look(url, feature, thread_id, resume=resume)
        else:  # asked by a custom event, as before 1.0
            command = {"resume": {"decisions": [{"type": "approve"}]}}
            report, _ = await look(url, feature, thread_id, forwardedProps={"command": command})
        reports.append(report)
    print(json.dumps(reports))


asyncio.run(main())
