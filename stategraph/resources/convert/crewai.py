"""Flows of CrewAI that are declared (`crewai.flow/v1`): methods become steps.

| there | here |
|---|---|
| a method | a step of its name; its result is `steps.<name>` |
| `listen: a`, `listen: {or: [a, b]}` | `next` of these steps |
| `listen: {and: [a, b]}` | `after` |
| `call: expression` | a step that sets a field of its name in the state |
| `call: agent` | an Agent, and a step that asks it |
| `call: tool` | a step that calls a tool that the program registers by the id of `ref` |
| `router: true` with `emit` | a switch that compares the result with the names of the events |
| `state`, defaults and JSON Schema | `inputs` |
| `${...}` | `${{ ... }}`: both are CEL |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stategraph.resources.convert.conversion import Conversion, Document, resource_name

_MARK: Final = re.compile(r"\$\{(.*?)\}")
_EXPRESSIONS: Final = "expression"


def convert(document: Document, documents: Sequence[Document] = ()) -> Iterator[Conversion]:
    """Convert a flow; it becomes one conversion; others have no part in it."""
    del documents
    conversion = Conversion(f"Flow {document.get('name')}")
    _Flow(document, conversion).run()
    yield conversion


class _Flow:
    """A flow that is being converted."""

    def __init__(self, document: Document, into: Conversion) -> None:
        self._document = document
        self._into = into
        self._name = resource_name(str(document.get("name") or "flow"))
        self._methods: Mapping[str, Mapping[str, Any]] = document.get("methods") or {}
        self._emits: dict[str, str] = {}
        self._fields: dict[str, Any] = {}

    def run(self) -> None:
        """Convert it."""
        for name in sorted(set(self._document) - {"schema", "name", "description", "state", "methods", "config"}):
            self._into.refuse(name, name, "it has no counterpart of the same meaning")
        if not self._methods:
            self._into.refuse("methods", "methods", "a flow without methods has no steps")
            return
        for name, method in self._methods.items():
            self._emits |= {str(event): name for event in method.get("emit") or ()}
        steps: list[dict[str, Any]] = []
        for name, method in self._methods.items():
            steps += self._steps(name, method)
        spec: dict[str, Any] = {"steps": steps, "inputs": self._inputs(), "state": self._fields}
        if self._document.get("description"):
            spec["description"] = self._document["description"]
        starts = self._starts()
        if starts and starts != [steps[0]["id"]]:
            spec["initialStep"] = starts
        self._into.add("Workflow", self._name, {key: each for key, each in spec.items() if each})

    def _starts(self) -> list[str]:
        """Return the methods that the flow begins with."""
        starts = [name for name, method in self._methods.items() if method.get("start")]
        if not starts or any(method.get("start") not in (None, True, False) for method in self._methods.values()):
            self._into.refuse("start", "methods", "a flow begins at methods with `start: true`")
        return starts

    def _inputs(self) -> dict[str, Any]:
        state = self._document.get("state") or {}
        if state.get("type") == "pydantic" or state.get("ref"):
            self._into.refuse("state", "state", "a state that is a class of Python; declare its fields")
        schema, defaults = state.get("json_schema") or {}, state.get("default") or {}
        required = schema.get("required") or ()
        found: dict[str, Any] = {}
        for name in dict.fromkeys((*(schema.get("properties") or {}), *defaults)):
            given = (schema.get("properties") or {}).get(name) or {}
            field = {key: each for key, each in given.items() if key in ("type", "items", "enum", "description")}
            if name in defaults:
                field["default"] = defaults[name]
            elif name not in required:
                field["optional"] = True
            found[str(name)] = field
        return found

    # Methods.

    def _steps(self, name: str, method: Mapping[str, Any]) -> list[dict[str, Any]]:
        place = f"methods.{name}"
        for field in sorted(set(method) - {"start", "listen", "router", "emit", "do", "description"}):
            self._into.refuse(field, f"{place}.{field}", "it has no counterpart of the same meaning")
        step: dict[str, Any] = {"id": name, **self._action(name, method.get("do") or {}, f"{place}.do")}
        if method.get("description"):
            step["description"] = method["description"]
        awaited = self._awaited(method, place)
        if len(awaited) > 1:
            step["after"] = awaited
        events = [str(each) for each in method.get("emit") or ()]
        onward = self._listeners(name)
        if not method.get("router"):
            if onward:
                step["next"] = onward[0] if len(onward) == 1 else onward
            return [step]
        choice = f"{name}_route"
        step["next"] = [choice, *onward] if onward else choice
        cases: list[dict[str, Any]] = []
        for event in events:
            heard = self._listeners(event)
            if len(heard) > 1:
                self._into.refuse("emit", f"{place}.emit", f"several methods hear {event!r}; a switch chooses one way")
            if heard:
                cases.append({"when": f"{self._result_text(name)} == '{event}'", "next": heard[0]})
        return [step, {"id": choice, "switch": [*cases, {"next": "END"}]}]

    def _result_text(self, name: str) -> str:
        return f"state.{name}" if name in self._fields else f'steps["{name}"].text'

    def _listeners(self, source: str) -> list[str]:
        return [name for name, method in self._methods.items() if source in self._heard(method)]

    def _heard(self, method: Mapping[str, Any]) -> list[str]:
        """Return the names after each of which a method runs."""
        listen = method.get("listen")
        if isinstance(listen, str):
            return [listen]
        if isinstance(listen, Mapping) and set(listen) == {"or"}:
            return [str(each) for each in listen["or"] if isinstance(each, str)]
        return []

    def _awaited(self, method: Mapping[str, Any], place: str) -> list[str]:
        listen = method.get("listen")
        if isinstance(listen, Mapping):
            several: Sequence[Any] = next(iter(listen.values()), ())
            if set(listen) not in ({"and"}, {"or"}) or not all(isinstance(each, str) for each in several):
                self._into.refuse("listen", f"{place}.listen", "conditions inside of conditions have no counterpart")
                return []
            if set(listen) == {"and"}:
                events = [each for each in several if each in self._emits]
                if events:
                    self._into.refuse("listen", f"{place}.listen", "an event of a router is waited for with others")
                return [str(each) for each in several]
        elif listen is not None and not isinstance(listen, str):
            self._into.refuse("listen", f"{place}.listen", "it is neither a name nor a condition")
        return []

    # Actions.

    def _action(self, name: str, action: Mapping[str, Any], place: str) -> dict[str, Any]:
        call = action.get("call")
        if call == _EXPRESSIONS:
            self._fields[name] = {}
            return {"set": {name: "${{ " + self._cel(str(action.get("expr"))) + " }}"}}
        if call == "agent":
            return self._agent(name, action.get("with") or {}, place)
        if call == "tool":
            given = {str(key): self._value(each) for key, each in (action.get("with") or {}).items()}
            id = str(action.get("ref"))
            self._into.add("Tool", f"{self._name}-{name}", {"id": id})
            self._into.notes.append(f"register a tool under the id {id!r}")
            return {"tool": resource_name(f"{self._name}-{name}"), "input": given}
        reasons = {
            "crew": "a crew plans its tasks by itself; declare a Network of its agents",
            "code": "code of Python that the flow names; declare a Tool",
            "script": "code inside of a manifest is not executed",
            "each": "loops of several actions have no counterpart; a step with `each` calls one thing",
        }
        self._into.refuse(f"call: {call}", place, reasons.get(str(call), "this action has no counterpart"))
        return {"set": {}}

    def _agent(self, name: str, given: Mapping[str, Any], place: str) -> dict[str, Any]:
        known = {"role", "goal", "backstory", "input", "llm", "name"}
        for field in sorted(set(given) - known):
            self._into.refuse(f"agent.{field}", f"{place}.with.{field}", "it has no counterpart of the same meaning")
        told = [f"You are {given.get('role')}.", str(given.get("backstory") or ""), f"Your goal: {given.get('goal')}"]
        spec: dict[str, Any] = {"instructions": "\n".join(each for each in told if each)}
        if isinstance(given.get("llm"), str):
            provider, slash, model = str(given["llm"]).partition("/")
            spec["model"] = {"provider": provider, "name": model} if slash else {"provider": "openai", "name": provider}
        agent = resource_name(f"{self._name}-{name}")
        self._into.add("Agent", agent, spec)
        step: dict[str, Any] = {"agent": agent}
        if given.get("input") is not None:
            step["input"] = {"text": self._value(given["input"])}
        return step

    # Values.

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return _MARK.sub(lambda found: "${{ " + self._cel(found.group(1)) + " }}", value)
        if isinstance(value, Mapping):
            return {str(key): self._value(each) for key, each in value.items()}
        return [self._value(each) for each in value] if isinstance(value, list) else value

    def _cel(self, expression: str) -> str:
        text = re.sub(r"\bstate\.", "input.", expression.strip())
        text = re.sub(r"\boutputs\.(\w+)\.raw\b", lambda found: f'steps["{found.group(1)}"].text', text)
        text = re.sub(
            r"\boutputs\.(\w+)\.(?:json_dict|pydantic)\b", lambda found: f'steps["{found.group(1)}"].structured', text
        )
        return re.sub(r"\boutputs\.(\w+)", lambda found: self._output_of(found.group(1)), text)

    def _output_of(self, name: str) -> str:
        return f"state.{name}" if self._is_expression(name) else f'steps["{name}"]'

    def _is_expression(self, name: str) -> bool:
        return ((self._methods.get(name) or {}).get("do") or {}).get("call") == _EXPRESSIONS
