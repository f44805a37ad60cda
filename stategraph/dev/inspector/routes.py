"""The API of the inspector. Changes are refused (403) unless the server was started for them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stategraph.dev.addresses import ThreadRoute
from stategraph.dev.inspector.graphs import Place
from stategraph.dev.inspector.inspector import Inspector
from stategraph.dev.inspector.listing import status_of
from stategraph.dev.replies import RefusedError, body_of, number_of, reply, text_of

#: Threads and steps of a page.
PAGE = 25
MOST = 100


def inspector_of(request: Request) -> Inspector:
    """Return the inspector of the server."""
    inspector: Inspector = request.app.state.inspector
    return inspector


async def about(request: Request) -> Response:
    """Return whether threads may be changed, and the graph as SVG."""
    return reply(await inspector_of(request).about())


async def threads(request: Request) -> Response:
    """Return a page of threads with what they hold; `q` searches titles and ids, `status` chooses."""
    asked = request.query_params
    status = status_of(asked.get("status", ""))
    if asked.get("status") and status is None:
        raise RefusedError(
            400, f"'status' is {asked['status']!r:.40}; send idle, running, interrupted, failed or unfinished"
        )
    limit = number_of(request, "limit", PAGE, MOST) or PAGE
    found = await inspector_of(request).listing.page(
        asked.get("q", "").strip(), status, asked.get("after") or None, limit
    )
    return reply(found)


async def steps(request: Request) -> Response:
    """Return a page of the steps of a thread, the newest first."""
    limit = number_of(request, "limit", PAGE, MOST) or PAGE
    before = request.query_params.get("before") or None
    return reply(await inspector_of(request).steps(_place(request), before, limit))


async def step(request: Request) -> Response:
    """Return a step in detail."""
    return reply(await inspector_of(request).step(_place(request), request.path_params["step"]))


async def path(request: Request) -> Response:
    """Return the way that a turn took up to a step."""
    return reply(await inspector_of(request).path(_place(request), request.path_params["step"]))


async def explanation(request: Request) -> Response:
    """Return why each node of a turn ran, waits or did not run, up to a step."""
    return reply(await inspector_of(request).explanation(_place(request), request.path_params["step"]))


async def value(request: Request) -> Response:
    """Return a value in full."""
    asked = request.path_params
    return reply(await inspector_of(request).value(_place(request), asked["step"], asked["name"]))


async def messages(request: Request) -> Response:
    """Return messages of a state; `end` is the position before which they stand."""
    asked = request.path_params
    end = number_of(request, "end", 0, 10**9) if request.query_params.get("end") else None
    return reply(await inspector_of(request).messages(_place(request), asked["step"], asked["name"], end))


async def compare(request: Request) -> Response:
    """Compare two branches: `a` and `b` are threads, `a_step` and `b_step` their last steps."""
    asked = request.query_params
    ends = []
    for side in ("a", "b"):
        if not asked.get(side):
            raise RefusedError(
                400, f"'{side}' is missing; send the threads 'a' and 'b', and perhaps 'a_step', 'b_step'"
            )
        ends.append((Place(asked[side]), asked.get(f"{side}_step", "")))
    return reply(await inspector_of(request).compare(ends[0], ends[1]))


async def branched(request: Request) -> Response:
    """Begin a branch at a step: `values` to be set by their names, `as_node`, and `run` if it is to be run."""
    inspector_of(request).check_edits()
    body = await body_of(request, "step", "values", "as_node", "run", "namespace")
    given = body.get("values")
    if given is not None and not isinstance(given, dict):
        raise RefusedError(400, "'values' has to be an object of values by the names that the state has")
    if not isinstance(body.get("run", False), bool):
        raise RefusedError(400, "'run' has to be true or false")
    place = Place(request.path_params["thread_id"], text_of(body, "namespace", needed=False, most=2_000))
    node = text_of(body, "as_node", needed=False, most=1_000) or None
    begun = await inspector_of(request).branch(
        place, text_of(body, "step", most=200), given, node, runs=body.get("run", False)
    )
    return reply(begun, 201)


async def copied(request: Request) -> Response:
    """Copy a thread at a step to a thread of its own; `title` is optional."""
    inspector_of(request).check_edits()
    body = await body_of(request, "step", "title")
    title = text_of(body, "title", needed=False, most=200).strip()
    made = await inspector_of(request).copy(_place(request), text_of(body, "step", most=200), title)
    return reply(made.to_json(), 201)


def _place(request: Request) -> Place:
    return Place(request.path_params["thread_id"], request.query_params.get("namespace", ""))


_THREAD = "/api/inspector/threads/{thread_id}"
_STEP = f"{_THREAD}/steps/{{step}}"

routes: list[Any] = [
    Route("/api/inspector", about),
    Route("/api/inspector/threads", threads),
    Route("/api/inspector/compare", compare),
    ThreadRoute(f"{_THREAD}/steps", steps),
    ThreadRoute(_STEP, step),
    ThreadRoute(f"{_STEP}/path", path),
    ThreadRoute(f"{_STEP}/explanation", explanation),
    ThreadRoute(f"{_STEP}/values/{{name:path}}", value),
    ThreadRoute(f"{_STEP}/messages/{{name:path}}", messages),
    ThreadRoute(f"{_THREAD}/branches", branched, methods=["POST"]),
    ThreadRoute(f"{_THREAD}/copies", copied, methods=["POST"]),
]
