"""The routes of each protocol, a line for each.

A line is `METHOD path: body -> answer`, and behind it what it does; the words are those of `notation`. `~` is an event
stream, `-` no body; a status other than 200 stands before the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_LANGGRAPH: Final = """
POST /assistants: AssistantCreate -> Assistant | Make an assistant
POST /assistants/search: AssistantSearchRequest -> [Assistant] | List assistants
POST /assistants/count: AssistantCountRequest -> int | Count assistants
GET /assistants/{assistant_id} -> Assistant | Return an assistant
PATCH /assistants/{assistant_id}: AssistantPatch -> Assistant | Make a new version of an assistant
DELETE /assistants/{assistant_id}?delete_threads=bool -> 204 - | Delete an assistant
GET /assistants/{assistant_id}/graph?xray=text -> Drawing | Return the nodes and edges of a graph
GET /assistants/{assistant_id}/subgraphs?recurse=bool -> Subgraphs | Return the schemas of graphs inside of a graph
GET /assistants/{assistant_id}/subgraphs/{namespace}?recurse=bool -> Subgraphs | Return those of one
GET /assistants/{assistant_id}/schemas -> GraphSchema | Return the schemas of a graph
POST /assistants/{assistant_id}/versions: AssistantVersionsSearchRequest -> [AssistantVersion] | List versions
POST /assistants/{assistant_id}/latest: AssistantVersionChange -> Assistant | Go back to a version
POST /threads: ThreadCreate -> Thread | Make a thread
POST /threads/search: ThreadSearchRequest -> [Thread] | List threads
POST /threads/count: ThreadCountRequest -> int | Count threads
POST /threads/prune: ThreadPruneRequest -> ThreadPruneResponse | Delete threads, or their old checkpoints
GET /threads/{thread_id}?include=text -> Thread | Return a thread
PATCH /threads/{thread_id}: ThreadPatch -> Thread | Merge metadata into those of a thread
DELETE /threads/{thread_id} -> 204 - | Delete a thread with all that is kept of it
GET /threads/{thread_id}/storage -> ThreadStorage | Measure what a thread takes in the database
GET /threads/{thread_id}/state?subgraphs=bool -> ThreadState | Return the newest state of a thread
POST /threads/{thread_id}/state: ThreadStateUpdate -> ThreadStateUpdateResponse | Write values as a node would
GET /threads/{thread_id}/state/{checkpoint_id}?subgraphs=bool -> ThreadState | Return the state at a checkpoint
POST /threads/{thread_id}/state/checkpoint: ThreadStateCheckpointRequest -> ThreadState | Return the same
GET /threads/{thread_id}/history?limit=1..1000&before=text -> [ThreadState] | List the states of a thread
POST /threads/{thread_id}/history: ThreadStateSearch -> [ThreadState] | List the states of a thread
POST /threads/{thread_id}/copy -> Thread | Copy a thread
GET /threads/{thread_id}/stream?stream_modes=text -> ~ | Read the events of all runs of a thread
POST /threads/{thread_id}/stream/events: ProtocolEventStreamRequest -> ~ | Read events of protocol v2
POST /threads/{thread_id}/commands: ProtocolCommand -> ProtocolSuccess + ProtocolError | Do a command of protocol v2
GET /threads/{thread_id}/runs?limit=0..1000&offset=0..&status=text -> [Run] | List the runs of a thread
POST /threads/{thread_id}/runs: RunCreateStateful -> Run | Begin a run
POST /threads/{thread_id}/runs/crons: ThreadCronCreate -> Cron | Make a schedule of runs on a thread
POST /threads/{thread_id}/runs/stream: RunCreateStateful -> ~ | Begin a run and read its events
POST /threads/{thread_id}/runs/wait: RunCreateStateful -> any | Begin a run and wait for its values
GET /threads/{thread_id}/runs/{run_id} -> Run | Return a run
DELETE /threads/{thread_id}/runs/{run_id} -> 204 - | Delete a run that has ended
GET /threads/{thread_id}/runs/{run_id}/join?cancel_on_disconnect=bool -> any | Wait for the values of a run
GET /threads/{thread_id}/runs/{run_id}/stream?stream_mode=text&cancel_on_disconnect=bool -> ~ | Read its events
POST /threads/{thread_id}/runs/{run_id}/cancel?wait=bool&action=interrupt/rollback -> any | Stop a run
POST /runs/crons: CronCreate -> Cron | Make a schedule of runs
POST /runs/crons/search: CronSearch -> [Cron] | List schedules
POST /runs/crons/count: CronCountRequest -> int | Count schedules
GET /runs/crons/{cron_id} -> Cron | Return a schedule
PATCH /runs/crons/{cron_id}: CronPatch -> Cron | Change a schedule
DELETE /runs/crons/{cron_id} -> any | Delete a schedule
POST /runs/stream: RunCreateStateless -> ~ | Begin a run on a thread of its own and read its events
POST /runs/wait: RunCreateStateless -> any | Begin a run on a thread of its own and wait for its values
POST /runs/cancel?action=interrupt/rollback: RunsCancel -> 204 - | Stop runs
POST /runs/batch: RunBatchCreate -> [Run] | Begin several runs
POST /runs: RunCreateStateless -> Run | Begin a run on a thread of its own
PUT /store/items: StorePutRequest -> 204 - | Store a value
DELETE /store/items: StoreDeleteRequest -> 204 - | Delete a value
GET /store/items?key=text&namespace=text -> Item? | Return a value
POST /store/items/search: StoreSearchRequest -> SearchItemsResponse | List values below a namespace
POST /store/namespaces: StoreListNamespacesRequest -> ListNamespaceResponse | List namespaces
GET /info -> object | Return what the server is
"""

_RUNS: Final = """
GET /health -> object | Say whether the server takes requests
GET /v1/info -> object | Return what is served
GET /v1/threads?limit=0..200&after=text&q=text -> ChatThreads | List threads
POST /v1/threads: ChatTitle -> 201 ChatThread | Make a thread
GET /v1/threads/{thread_id} -> object | Return a thread with its turns
PATCH /v1/threads/{thread_id}: ChatTitle -> ChatThread | Give a thread another title
DELETE /v1/threads/{thread_id} -> 204 - | Erase a thread
POST /v1/threads/{thread_id}/turns: ChatTurn -> 201 ChatRun | Begin a turn
POST /v1/threads/{thread_id}/answers: ChatAnswers -> ChatRun | Answer what a thread waits for
POST /v1/threads/{thread_id}/continue: object -> ChatRun | Go on with a turn that was cut off
GET /v1/threads/{thread_id}/events -> ~ | Read the events of its runs
GET /v1/threads/{thread_id}/export -> object | Return a thread as JSON
GET /v1/runs/{run_id} -> ChatRun | Return a run
GET /v1/runs/{run_id}/events?after_seq=0.. -> ~ | Read the events of a run
POST /v1/runs/{run_id}/stop -> 202 object | Stop a run
GET /v1/events -> ~ | Read that the list of threads has changed
"""

_OPENAI: Final = """
GET /v1/models -> object | List agents and graphs
GET /v1/models/{model} -> object | Return an agent or a graph
POST /v1/responses: object -> any | Answer a message, as OpenAI's Responses API
GET /v1/responses/{response_id} -> any | Return an answer
DELETE /v1/responses/{response_id} -> any | Delete an answer
POST /v1/responses/{response_id}/cancel -> any | Stop an answer
GET /v1/responses/{response_id}/input_items -> object | List what an answer was asked with
POST /v1/conversations: object -> any | Make a conversation
GET /v1/conversations/{conversation_id} -> any | Return a conversation
POST /v1/conversations/{conversation_id}: object -> any | Change the metadata of a conversation
DELETE /v1/conversations/{conversation_id} -> any | Delete a conversation
GET /v1/conversations/{conversation_id}/items -> object | List what was said in a conversation
POST /v1/conversations/{conversation_id}/items: object -> any | Add to a conversation
GET /v1/conversations/{conversation_id}/items/{item_id} -> any | Return something of a conversation
POST /v1/chat/completions: object -> any | Answer messages, as OpenAI's Chat Completions API
"""

_AGUI: Final = """
POST /agui/{assistant_id}: object -> ~ | Run an agent, as AG-UI
GET /agui/{assistant_id} -> object | Return what an agent can do
GET /agui/{assistant_id}/threads/{thread_id}/runs/{run_id} -> ~ | Read a run, whoever began it
"""
_VERCEL: Final = """
POST /vercel/{assistant_id}: object -> ~ | Run an agent, as the UI message stream of Vercel's AI SDK
GET /vercel/{assistant_id}/{thread_id} -> object | Return the messages of a chat
GET /vercel/{assistant_id}/{thread_id}/stream -> ~ | Read the run that goes on in a chat
POST /vercel/{assistant_id}/{thread_id}/stop -> 204 - | Stop the run of a chat
"""
_A2A: Final = """
GET /.well-known/agent-card.json -> object | Return the card of an agent
GET /a2a/{assistant_id}/.well-known/agent-card.json -> object | Return the card of an agent
POST /a2a/{assistant_id}: object -> any | Call a method of A2A (JSON-RPC)
"""
_MCP: Final = """
POST /mcp/: object -> any | Call a method of MCP
GET /mcp/ -> any | Read messages of an MCP session
DELETE /mcp/ -> any | End an MCP session
"""
_ALWAYS: Final = """
GET /ok?check_db=0..1 -> object | Say whether the server takes requests
GET /metrics?format=text -> text/plain | Return figures as Prometheus reads them
GET /docs -> text/html | Return a page with all routes
GET /openapi.json -> object | Return this document
"""

_TEXTS: Final[Mapping[str, str]] = {
    "": _ALWAYS,
    "langgraph": _LANGGRAPH,
    "runs": _RUNS,
    "openai": _OPENAI,
    "agui": _AGUI,
    "vercel": _VERCEL,
    "a2a": _A2A,
    "mcp": _MCP,
}

_LINE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<path>[^ ?:]+)(?:\?(?P<query>[^ :]+))?(?:: (?P<body>\w+))? -> "
                          r"(?:(?P<status>\d{3}) )?(?P<answer>[^|]+) \| (?P<summary>.+)")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """A route and a method.

    Attributes:
        protocol: Whose it is; empty: the server's.
        method: Of HTTP.
        path: With its parameters in braces.
        query: Words of the parameters of the query, by their names.
        body: The name of the schema of the body; empty: there is none.
        status: When it went well.
        answer: The word of the answer's schema, `~` for an event stream, `-` for nothing, or a media type.
        summary: What it does.
    """

    protocol: str
    method: str
    path: str
    query: Mapping[str, str]
    body: str
    status: int
    answer: str
    summary: str


def operations(protocols: frozenset[str]) -> Iterator[Operation]:
    """Yield the operations of protocols, and those of every server."""
    for protocol, text in _TEXTS.items():
        if not protocol or protocol in protocols:
            for line in text.strip().splitlines():
                yield _read(protocol, line)


def _read(protocol: str, line: str) -> Operation:
    found = _LINE.fullmatch(line)
    assert found is not None, line
    query = dict(each.split("=", 1) for each in (found["query"] or "").split("&") if each)
    return Operation(
        protocol,
        found["method"],
        found["path"],
        query,
        found["body"] or "",
        int(found["status"] or 200),
        found["answer"].strip(),
        found["summary"],
    )
