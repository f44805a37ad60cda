"""Workflows made by chance, valid by construction: every kind of step, ways forward and back, joins, switches."""

from __future__ import annotations

import random
from typing import Any

MERGES = ("append", "union", "update", "add", "last", "messages")


def workflow(seed: int) -> dict[str, Any]:
    """Return the spec of a workflow."""
    chance = random.Random(seed)
    fields = [f"f{index}" for index in range(chance.randint(1, 5))]
    state = {name: _field(chance) for name in fields}
    spec: dict[str, Any] = {"state": state, "steps": []}
    inputs = None
    if chance.random() < 0.6:
        inputs = {
            "text": {"type": "string"},
            **({"n": {"type": "integer", "default": 2}} if chance.random() < 0.5 else {}),
        }
        if chance.random() < 0.3:
            inputs[fields[0]] = {"optional": True}
        spec["inputs"] = inputs
    if chance.random() < 0.3:
        spec["outputs"] = chance.sample(fields, chance.randint(1, len(fields)))
    if chance.random() < 0.3:
        spec |= {"description": "made by chance", "maxSteps": 50, "rollout": {"maxAge": "2h"}}
    ids = [f"s{index}" for index in range(chance.randint(1, 8))]
    read = "input.text" if inputs else "input"
    for index, id in enumerate(ids):
        spec["steps"].append(_step(chance, id, ids, index, fields, read))
    _connect(chance, spec["steps"], ids)
    if chance.random() < 0.3:
        chance.shuffle(spec["steps"])
        spec["initialStep"] = ids[0]
    return spec


def _field(chance: random.Random) -> dict[str, Any]:
    field: dict[str, Any] = {}
    if chance.random() < 0.7:
        field["merge"] = chance.choice(MERGES)
    if field.get("merge") == "add":
        field["type"] = chance.choice(["integer", "number"])
    elif chance.random() < 0.4:
        field["description"] = "a field"
    return field


def _step(chance: random.Random, id: str, ids: list[str], index: int, fields: list[str], read: str) -> dict[str, Any]:
    kind = chance.choice(["agent", "tool", "workflow", "network", "interrupt", "switch", "node", "set", "each"])
    field = chance.choice(fields)
    step: dict[str, Any] = {"id": id}
    if kind == "switch":
        later = [*ids[index + 1 :], "END"]
        cases = [
            {
                "when": chance.choice(
                    [f"size(string(state.{field})) > {n}", f"${{{{ has(state.{field}) && {n} > 1 }}}}"]
                ),
                "next": chance.choice(later),
            }
            for n in range(chance.randint(0, 2))
        ]
        return {**step, "switch": [*cases, {"next": chance.choice(later)}]}
    if chance.random() < 0.3:
        step["name"] = f"Step {id}"
    if kind == "interrupt":
        step["interrupt"] = chance.choice(
            [{"prompt": "Why?"}, {"type": "approval", "prompt": "Pay ${{" + read + "}}?"}]
        )
        step["output"] = {field: "${{ result.text }}"}
    elif kind == "node":
        step["node"] = "tests.resources.world_tools:node"
    elif kind == "set":
        step["set"] = {field: chance.choice([1, "x", ["a", {"b": "${{ " + read + " }}"}]])}
    else:
        target = "tool" if kind == "each" else kind
        step[target] = chance.choice(["one", "other/one", {"name": "one", "namespace": "other"}])
        step["output"] = {field: "${{result}}"}
        if chance.random() < 0.7:
            step["input"] = {"q": "${{ " + read + " }}"}
        if kind == "each":
            step |= {"each": chance.choice(["${{ [1, 2] }}", [1, 2]]), "onError": chance.choice(["fail", "settle"])}
            step |= chance.choice([{}, {"as": "one", "maxConcurrency": 3}])
    if kind not in ("interrupt", "set", "node") and chance.random() < 0.3:
        step |= {"timeout": chance.choice(["20s", 5, "1m30s"])}
    if kind not in ("interrupt", "set") and chance.random() < 0.3:
        step |= {"retry": chance.choice([{}, {"max": 5, "backoff": "1s"}])}
    return step


def _connect(chance: random.Random, steps: list[dict[str, Any]], ids: list[str]) -> None:
    """Lead to every step: from an earlier one, or from two that are both waited for."""
    by_id = {step["id"]: step for step in steps}
    for index, id in enumerate(ids[1:], 1):
        earlier = [each for each in ids[:index] if "switch" not in by_id[each]]
        step = by_id[id]
        led = any(case["next"] == id for each in steps for case in each.get("switch", ()))
        if len(earlier) > 1 and chance.random() < 0.25 and "switch" not in step and "each" not in step:
            step["after"] = chance.sample(earlier, 2)
        elif earlier and (not led or chance.random() < 0.3):
            _lead(chance.choice(earlier), id, by_id)
        elif not led:
            switch = by_id[ids[0]]
            switch["switch"].insert(0, {"when": "1 > 2", "next": id})
    nodes = [each for each in ids if "switch" not in by_id[each]]
    if nodes and chance.random() < 0.3:
        _lead(nodes[-1], chance.choice(nodes), by_id)
    for id in nodes:
        if "next" not in by_id[id] and chance.random() < 0.4:
            by_id[id]["next"] = chance.choice(["END", ["END"]])


def _lead(source: str, target: str, by_id: dict[str, dict[str, Any]]) -> None:
    known = by_id[source].get("next")
    several = [known] if isinstance(known, str) else list(known or ())
    if target not in several:
        several = [each for each in several if each != "END"] + [target]
    by_id[source]["next"] = several[0] if len(several) == 1 else several
