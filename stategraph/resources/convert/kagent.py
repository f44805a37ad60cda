"""Resources of kagent: declarative agents, models and MCP servers.

| there | here |
|---|---|
| `Agent` of the type Declarative (also without a type) | an Agent |
| tools of an agent: `McpServer`, `Agent` | tools that are MCP servers or agents |
| `ModelConfig` | a Model, and a reference to its Secret |
| `RemoteMCPServer`, `MCPServer`, `ToolServer` | an MCPServer |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stategraph.resources.convert.conversion import Conversion, Document, name_of, resource_name

_PROVIDERS: Final[Mapping[str, tuple[str, str]]] = {
    "OpenAI": ("openai", "openAI"),
    "Anthropic": ("anthropic", "anthropic"),
    "AzureOpenAI": ("azureOpenAI", "azureOpenAI"),
    "Ollama": ("ollama", "ollama"),
    "Gemini": ("google", "gemini"),
    "GeminiVertexAI": ("vertexai", "geminiVertexAI"),
    "Bedrock": ("bedrock", "bedrock"),
}
"""Our names of providers, and kagent's fields of their settings."""

_PARAMETERS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "maxTokens": "max_tokens",
    "topP": "top_p",
    "topK": "top_k",
    "seed": "seed",
    "timeout": "timeout",
    "organization": "organization",
    "reasoningEffort": "reasoning_effort",
}
_NUMBERS: Final = frozenset({"temperature", "topP"})


def convert(document: Document, documents: Sequence[Document] = ()) -> Iterator[Conversion]:
    """Convert a resource of kagent; it becomes one conversion; others have no part in it."""
    del documents
    kind, name = str(document.get("kind")), name_of(document)
    conversion = Conversion(f"{kind} {name}")
    namespace = str((document.get("metadata") or {}).get("namespace") or "default")
    made, spec = _KINDS.get(kind), document.get("spec") or {}
    if made is None or not isinstance(spec, Mapping):
        conversion.refuse(kind, "kind", "this kind has no counterpart")
    else:
        made(conversion, spec, resource_name(name), namespace)
    yield conversion


def _agent(into: Conversion, spec: Mapping[str, Any], name: str, namespace: str) -> None:
    if spec.get("type") == "BYO" or "byo" in spec:
        into.refuse("byo", "spec.byo", "an image that is an agent runs elsewhere; reach it with a tool or over A2A")
        return
    declared = {**spec, **(spec.get("declarative") or {})}
    place = "spec.declarative" if "declarative" in spec else "spec"
    texts = {"description": declared.get("description"), "instructions": declared.get("systemMessage")}
    made: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if declared.get("modelConfig"):
        made["modelRef"] = resource_name(str(declared["modelConfig"]))
    tools: list[dict[str, str]] = []
    for index, tool in enumerate(declared.get("tools") or ()):
        tools += _tools(into, tool, f"{place}.tools[{index}]", namespace)
    made |= {"tools": tools} if tools else {}
    if (declared.get("a2aConfig") or {}).get("skills"):
        made["expose"] = {"a2a": True}
    _refuse_of_agent(into, spec, declared, place)
    if (spec.get("allowedNamespaces") or {}).get("from") == "All":
        made["allowedNamespaces"] = ["*"]
    into.add("Agent", name, made, namespace)


def _refuse_of_agent(into: Conversion, spec: Mapping[str, Any], declared: Mapping[str, Any], place: str) -> None:
    """Refuse what an agent has here no counterpart of."""
    for field in ("memory", "executeCodeBlocks", "promptTemplate", "context"):
        if declared.get(field):
            into.refuse(field, f"{place}.{field}", "it has no counterpart of the same meaning")
    if declared.get("systemMessageFrom"):
        into.refuse("systemMessageFrom", f"{place}.systemMessageFrom", "instructions are written where the agent is")
    if spec.get("skills"):
        into.refuse("skills", "spec.skills", "skills from registries of images; declare a Skill of a folder")
    if (spec.get("allowedNamespaces") or {}).get("from") == "Selector":
        into.refuse("allowedNamespaces", "spec.allowedNamespaces", "namespaces are named, not selected by labels")
    for field in ("deployment", "stream"):
        if declared.get(field) is not None:
            into.notes.append(f"{place}.{field} is left to the deployment")


def _tools(into: Conversion, tool: Any, place: str, namespace: str) -> list[dict[str, str]]:
    if not isinstance(tool, Mapping):
        into.refuse("tool", place, f"a tool is a mapping here; found {type(tool).__name__}")
        return []
    if tool.get("type") == "Agent" or "agent" in tool:
        agent = tool.get("agent") or {}
        return [{"ref": f"agents/{resource_name(str(agent.get('name') or agent.get('ref')))}"}]
    server = tool.get("mcpServer")
    if server is None:
        into.refuse("tool", place, f"a tool of the type {tool.get('type')!r} has no counterpart")
        return []
    if server.get("kind") == "Service":
        into.refuse("tool", f"{place}.mcpServer", "a Service is no MCPServer; declare one with its url")
    if server.get("requireApproval"):
        into.refuse("requireApproval", f"{place}.mcpServer.requireApproval", "approvals are decided by a Policy")
    name = resource_name(str(server.get("name") or server.get("toolServer")))
    chosen = [str(each) for each in server.get("toolNames") or ()]
    for each in chosen:
        into.add("Tool", f"{name}-{each}", {"mcp": {"serverRef": name, "tool": each}}, namespace)
    if not chosen:
        return [{"ref": f"mcpservers/{name}"}]
    return [{"name": each, "ref": resource_name(f"{name}-{each}")} for each in chosen]


def _model(into: Conversion, spec: Mapping[str, Any], name: str, namespace: str) -> None:
    provider = str(spec.get("provider"))
    if provider not in _PROVIDERS:
        into.refuse("provider", "spec.provider", f"the provider {provider!r} is not known here")
        return
    ours, field = _PROVIDERS[provider]
    settings = spec.get(field) or {}
    made: dict[str, Any] = {"provider": ours, "name": str(spec.get("model"))}
    address = settings.get("baseUrl") or settings.get("host") or settings.get("azureEndpoint")
    if address:
        made["endpoint"] = str(address)
    if spec.get("apiKeySecret"):
        secret, key = str(spec["apiKeySecret"]), str(spec.get("apiKeySecretKey") or "")
        made["secretRef"] = {"name": resource_name(secret), **({"key": key} if key else {})}
        into.notes.append(f"declare a Secret '{secret}' for the API key")
    if spec.get("tls"):
        into.refuse("tls", "spec.tls", "certificates of a provider are those of the process (SSL_CERT_FILE)")
    if spec.get("apiKeyPassthrough"):
        into.refuse("apiKeyPassthrough", "spec.apiKeyPassthrough", "keys of callers are not passed on")
    parameters = _parameters(spec, settings)
    if parameters:
        made["parameters"] = parameters
    into.add("Model", name, made, namespace)


def _parameters(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the client of a model."""
    parameters = {
        ours: float(settings[theirs]) if theirs in _NUMBERS else settings[theirs]
        for theirs, ours in _PARAMETERS.items()
        if settings.get(theirs) is not None
    }
    return {**parameters, **({"default_headers": dict(spec["defaultHeaders"])} if spec.get("defaultHeaders") else {})}


def _remote_server(into: Conversion, spec: Mapping[str, Any], name: str, namespace: str) -> None:
    if str(spec.get("protocol", "STREAMABLE_HTTP")) != "STREAMABLE_HTTP":
        into.refuse("protocol", "spec.protocol", "servers are reached by streamable HTTP; SSE alone is not spoken")
    made: dict[str, Any] = {"url": str(spec.get("url"))}
    if spec.get("description"):
        made["description"] = spec["description"]
    if spec.get("timeout"):
        made["callTimeout"] = (
            str(spec["timeout"]).removesuffix("0s") if str(spec["timeout"]).endswith("m0s") else str(spec["timeout"])
        )
    for index, each in enumerate(spec.get("headersFrom") or ()):
        source = (each.get("valueFrom") or {}) if isinstance(each, Mapping) else {}
        if source.get("type") == "Secret" and "auth" not in made:
            ref = {"name": resource_name(str(source.get("name"))), "key": str(source.get("key"))}
            made["auth"] = {"secretRef": ref, "header": str(each.get("name")), "scheme": ""}
        elif each.get("value") is not None:
            made.setdefault("headers", {})[str(each["name"])] = str(each["value"])
        else:
            into.refuse(
                "headersFrom", f"spec.headersFrom[{index}]", "one header may be of a Secret, none of a ConfigMap"
            )
    into.add("MCPServer", name, made, namespace)


def _server(into: Conversion, spec: Mapping[str, Any], name: str, namespace: str) -> None:
    deployment = spec.get("deployment") or {}
    command = deployment.get("cmd")
    if str(spec.get("transportType", "stdio")) != "stdio" or not command:
        into.refuse("deployment", "spec.deployment", "a server that is an image runs elsewhere; declare its url")
        return
    made: dict[str, Any] = {"command": str(command)}
    if deployment.get("args"):
        made["args"] = [str(each) for each in deployment["args"]]
    if deployment.get("env"):
        made["env"] = {str(key): str(value) for key, value in deployment["env"].items()}
    if deployment.get("image"):
        into.notes.append(
            f"the image {deployment['image']!r} is not used: the command runs where the server is reconciled"
        )
    into.add("MCPServer", name, made, namespace)


_KINDS: Final = {
    "Agent": _agent,
    "SandboxAgent": _agent,
    "ModelConfig": _model,
    "RemoteMCPServer": _remote_server,
    "MCPServer": _server,
}
