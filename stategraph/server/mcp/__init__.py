"""MCP: assistants as tools, on one endpoint for the revisions 2025-11-25 and 2026-07-28, through the package `mcp`.

    settings.py    names, hosts, how tools are called
    catalogue.py   resources, prompts and completions that the host serves beside the tools
    routes.py      the endpoint; the package `mcp` is imported with the first request (1.6 s)
    endpoint.py    the endpoint over the package's transport
    server.py      the requests of the protocol
    tools.py       assistants as tools: names, schemas, arguments, results
    calls.py       a call: begin a run, ask, answer, end
    watching.py    progress and log lines from the log of a run
    questions.py   what a graph asks as requests to the client, and its answers
    tasks.py       long calls as tasks, by the extension `io.modelcontextprotocol/tasks`
    skills.py      folders with a SKILL.md, by the extension `io.modelcontextprotocol/skills`
    resuming.py    messages of streams, for clients that come back

A call is a chain of runs of a thread; a task has the id of its first run. Nothing is stored beside them, so a call that
waits for an answer, or goes on as a task, is known to every replica.
"""

from stategraph.server.mcp.catalogue import Catalogue
from stategraph.server.mcp.routes import routes
from stategraph.server.mcp.settings import McpSettings, ToolSettings

__all__ = ("Catalogue", "McpSettings", "ToolSettings", "routes")
