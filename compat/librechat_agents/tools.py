"""Tools: names of MCP servers' tools, tools that only the host executes, the list of skills, the label of a call."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from langchain_core.tools import BaseTool, StructuredTool

__all__ = [
    "INTENT_ARG",
    "INTENT_DESCRIPTION",
    "INTENT_LABEL_MARKER",
    "INTENT_PROPERTY",
    "applyOutcome",
    "canonicalizeServerName",
    "createSchemaOnlyTool",
    "createSchemaOnlyTools",
    "extractMcpServerName",
    "formatSkillCatalog",
    "getAvailableMcpServers",
    "getBaseToolName",
    "isFromAnyMcpServer",
    "isFromMcpServer",
    "isIntentLabelProperty",
    "normalizeServerFilter",
    "outcomeFieldsFromResult",
    "readIntent",
    "readOutcomeFields",
    "resolveServerFilters",
    "resolveToolOutcome",
    "stripIntent",
    "withIntent",
    "withoutIntent",
]

# Tools of MCP servers are called `tool_mcp_server`.

_DELIMITER = "_mcp_"


def extractMcpServerName(toolName: str) -> str | None:
    """Return the server in the name of a tool; None if the tool is of no server."""
    _, found, server = toolName.partition(_DELIMITER)
    return server if found else None


def getBaseToolName(toolName: str) -> str:
    """Return the name of a tool without its server."""
    return toolName.partition(_DELIMITER)[0]


def isFromMcpServer(toolName: str, serverName: str) -> bool:
    """Return whether a tool is of a server."""
    return extractMcpServerName(toolName) == serverName


def isFromAnyMcpServer(toolName: str, serverNames: Sequence[str]) -> bool:
    """Return whether a tool is of one of several servers."""
    return extractMcpServerName(toolName) in serverNames


def canonicalizeServerName(serverName: str) -> str:
    """Return the form of a server's name in which names are compared."""
    return re.sub(r"[-_. ]+", "-", unicodedata.normalize("NFC", serverName.strip().lower()))


def normalizeServerFilter(serverFilter: str | Sequence[str] | None = None) -> list[str]:
    """Return the servers that a filter names."""
    named = [serverFilter] if isinstance(serverFilter, str) else serverFilter or ()
    return [each for each in named if each]


def resolveServerFilters(requested: Sequence[str], available: Sequence[str]) -> dict[str, list[str]]:
    """Find the servers that are meant, also where a name is spelled differently or begins with `mcp`."""
    by_form: dict[str, list[str]] = {}
    for name in available:
        by_form.setdefault(canonicalizeServerName(name), []).append(name)
    resolved: dict[str, None] = {}
    unresolved = []
    for want in requested:
        bare = re.sub(r"^mcp[-_. ]+(?=.)", "", want.strip(), flags=re.IGNORECASE)
        forms = [form for form in (canonicalizeServerName(want), canonicalizeServerName(bare)) if form]
        found = [want] if want in available else next((by_form[form] for form in forms if form in by_form), None)
        if found is None:
            unresolved.append(want)
        else:
            resolved |= dict.fromkeys(found)
    return {"resolved": list(resolved), "unresolved": unresolved}


def getAvailableMcpServers(
    toolRegistry: Mapping[str, Mapping[str, Any]] | None, onlyDeferred: bool = True
) -> list[str]:
    """Return the servers of the tools of a registry, by default of those that are loaded later (`defer_loading`)."""
    chosen = [each for each in (toolRegistry or {}).values() if each.get("defer_loading") is True or not onlyDeferred]
    servers = (extractMcpServerName(str(each.get("name"))) for each in chosen)
    return list(dict.fromkeys(server for server in servers if server))


# Tools that only the host executes.


def createSchemaOnlyTool(definition: Mapping[str, Any]) -> BaseTool:
    """Make a tool of a definition for a model to see; calling it is an error, as the host executes it."""
    name = definition["name"]

    async def refuse(**_: Any) -> NoReturn:
        raise RuntimeError(f"The tool '{name}' is executed by the host, in a handler of 'on_tool_execute'")

    return StructuredTool(
        name=name,
        description=definition.get("description") or "",
        args_schema=definition.get("parameters") or {"type": "object", "properties": {}},
        coroutine=refuse,
        response_format=definition.get("responseFormat") or "content_and_artifact",
    )


def createSchemaOnlyTools(definitions: Sequence[Mapping[str, Any]]) -> list[BaseTool]:
    """`createSchemaOnlyTool` of each."""
    return [createSchemaOnlyTool(each) for each in definitions]


# The list of skills for instructions.

_HEADER = "## Available Skills"


def formatSkillCatalog(skills: Sequence[Mapping[str, str]], opts: Mapping[str, Any] | None = None) -> str:
    """List skills within a share of the context: with descriptions, with shorter ones, or by name alone.

    Args:
        skills: Each with `name` and `description`.
        opts: `contextWindowTokens` (200,000), `budgetPercent` (0.01), `maxEntryChars` (250), `minDescLength` (20) and
            `charsPerToken` (4).
    """
    given = opts or {}
    window, share = given.get("contextWindowTokens", 200_000), given.get("budgetPercent", 0.01)
    budget = int(window * share * given.get("charsPerToken", 4))
    longest = max(1, given.get("maxEntryChars", 250))
    entries = [(each["name"], _cut(each["description"], longest)) for each in skills]
    if not entries:
        return ""
    whole = _listed(entries)
    if len(whole) <= budget:
        return whole
    named = sum(len(name) + 4 for name, _ in entries)
    room = (budget - len(_HEADER) - 2 - (len(entries) - 1) - named) // len(entries)
    if room >= max(1, given.get("minDescLength", 20)):
        shorter = _listed([(name, _cut(text, room)) for name, text in entries])
        if len(shorter) <= budget:
            return shorter
    names = [(name, "") for name, _ in entries]
    fitting = next((count for count in range(len(names), 0, -1) if len(_listed(names[:count])) <= budget), 0)
    return _listed(names[:fitting]) if fitting else ""


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _listed(entries: Sequence[tuple[str, str]]) -> str:
    return f"{_HEADER}\n\n" + "\n".join(f"- {name}: {text}" if text else f"- {name}" for name, text in entries)


# A call may say in an argument what it is about to do, and its result how that is to be shown when it is done.

INTENT_ARG = "intent"
INTENT_LABEL_MARKER = "ALWAYS write this field FIRST"
INTENT_DESCRIPTION = (
    f"{INTENT_LABEL_MARKER}. In one sentence, what this call does now, in the present progressive, for the person who "
    "watches; without the name of the tool, and different for each call of a tool."
)
INTENT_PROPERTY = {"type": "string", "description": INTENT_DESCRIPTION}
_LONGEST_OUTCOME = 256


def isIntentLabelProperty(property: Any) -> bool:
    """Return whether a parameter is the label, and not one of the tool's own that is called the same."""
    if not isinstance(property, Mapping) or property.get("type") != "string":
        return False
    return str(property.get("description") or "").startswith(INTENT_LABEL_MARKER)


def withIntent(parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return parameters with the label as the first one; those that have one of that name stay as they are."""
    known = (parameters or {}).get("properties") or {}
    if INTENT_ARG in known and parameters is not None:
        return parameters
    return {**(parameters or {}), "type": "object", "properties": {INTENT_ARG: {**INTENT_PROPERTY}, **known}}


def withoutIntent(parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
    """Return parameters without the label."""
    known = (parameters or {}).get("properties") or {}
    if parameters is None or not isIntentLabelProperty(known.get(INTENT_ARG)):
        return parameters
    rest = {**parameters, "properties": {name: each for name, each in known.items() if name != INTENT_ARG}}
    required = [name for name in rest.pop("required", None) or () if name != INTENT_ARG]
    return {**rest, "required": required} if required else rest


def readIntent(args: Any) -> str | None:
    """Return the label in the arguments of a call, an object or its JSON; None if there is none."""
    said = (_object(args) or {}).get(INTENT_ARG)
    return said.strip() or None if isinstance(said, str) else None


def stripIntent(args: Any) -> Any:
    """Return arguments without the label."""
    found = _object(args)
    if found is None or INTENT_ARG not in found:
        return args
    return {name: each for name, each in found.items() if name != INTENT_ARG}


def _object(args: Any) -> Mapping[str, Any] | None:
    if isinstance(args, str) and args.strip().startswith("{"):
        try:
            args = json.loads(args)
        except (ValueError, RecursionError):
            return None
    return args if isinstance(args, Mapping) else None


def applyOutcome(intent: str | None, result: Mapping[str, Any] | None = None) -> str | None:
    """Return how a call is to be shown when it is done: by the result's words, or by the label, changed or not."""
    told = (result or {}).get("outcome")
    if isinstance(told, str) and told.strip():
        return told
    return _patched(intent, result) or intent or None


def _patched(intent: str | None, result: Mapping[str, Any] | None) -> str | None:
    patch = (result or {}).get("outcome_patch")
    if not intent or not patch or not patch["from"] or patch["from"] not in intent:
        return None
    return intent.replace(patch["from"], patch["to"], 1)


def resolveToolOutcome(
    args: Any, fields: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> str | None:
    """Return how a call is to be shown, on one line; None if its result says nothing of that.

    The label of a call that failed (`isError`) is shown only if the result has words of its own, or changes it.
    """
    if not fields or (fields.get("outcome") is None and fields.get("outcome_patch") is None):
        return None
    intent = readIntent(args)
    if (options or {}).get("isError") is True:
        shown = applyOutcome(None, fields) or _patched(intent, fields)
    else:
        shown = applyOutcome(intent, fields)
    line = " ".join((shown or "").split())
    return _cut(line, _LONGEST_OUTCOME) or None


def readOutcomeFields(source: Any) -> dict[str, Any] | None:
    """Return what an artifact says of how its call is to be shown; None if nothing."""
    if not isinstance(source, Mapping):
        return None
    told, patch = source.get("outcome"), source.get("outcome_patch")
    found: dict[str, Any] = {}
    if isinstance(told, str) and told.strip():
        found["outcome"] = told
    if isinstance(patch, Mapping) and isinstance(patch.get("from"), str) and isinstance(patch.get("to"), str):
        found["outcome_patch"] = {"from": patch["from"], "to": patch["to"]}
    return found or None


def outcomeFieldsFromResult(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a result says of how its call is to be shown, or else its artifact."""
    if result.get("outcome") is not None or result.get("outcome_patch") is not None:
        return result
    return readOutcomeFields(result.get("artifact"))
