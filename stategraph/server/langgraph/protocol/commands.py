"""Commands of the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from uuid import uuid4

from stategraph.server.langgraph.protocol.events import MODES, Namespace, RunEvents, compact
from stategraph.server.langgraph.protocol.reading import graph_of, is_told
from stategraph.server.langgraph.snapshots import place
from stategraph.server.service.port import Service
from stategraph.server.service.values import (
    Caller,
    NotFoundError,
    RefusedError,
    RunRecord,
    RunRequest,
    ServiceError,
)
from stategraph.types import StateSnapshot

#: Checkpoints of a list, if nothing is said.
_CHECKPOINTS: Final = 10
_MOST: Final = 1000

_NO_RUN: Final = "No active run is bound to this thread."


class CommandError(Exception):
    """A command that is not done.

    Args:
        code: Why, in the words of the protocol.
        message: A sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Commands:
    """The commands of one caller on one thread.

    Args:
        service: What they call.
        caller: Who sends them.
        thread_id: The thread.
    """

    def __init__(self, service: Service, caller: Caller, thread_id: str) -> None:
        self._service = service
        self._caller = caller
        self._thread_id = thread_id

    async def answer(self, command: Any) -> tuple[int, dict[str, Any]]:
        """Execute a command; return the status of HTTP and the answer."""
        if not isinstance(command, Mapping):
            return 400, _failed(None, "invalid_argument", _MALFORMED)
        number, method = command.get("id"), command.get("method")
        if isinstance(number, bool) or not isinstance(number, int) or not isinstance(method, str):
            return 400, _failed(number, "invalid_argument", _MALFORMED)
        given = command.get("params")
        try:
            result = await self._execute(method, given if isinstance(given, Mapping) else {})
        except CommandError as error:
            return 200, _failed(number, error.code, str(error))
        except RefusedError as error:
            return 200, _failed(number, "permission_denied", str(error))
        except ServiceError as error:
            return 200, _failed(number, "unknown_error", str(error))
        return 200, {"type": "success", "id": number, "result": result, "meta": {"applied_through_seq": 0}}

    async def _execute(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        execute = _METHODS.get(method)
        if execute is None:
            raise CommandError("unknown_command", f"Unknown protocol command: {method}")
        return await execute(self, params)

    async def start(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a run; the thread is made if it is not there. If it waits for an answer, the input is that."""
        assistant_id = params.get("assistant_id")
        if not isinstance(assistant_id, str) or not assistant_id:
            raise CommandError("invalid_argument", "run.start requires an assistant_id.")
        given = params.get("input")
        options: dict[str, Any] = {"input": given}
        if given is not None and await self._waits():
            options = {"command": {"resume": given}}
        request = self._request(assistant_id, params, if_not_exists="create", **options)
        return {"run_id": (await self._service.runs.create(self._caller, request)).run_id}

    async def _waits(self) -> bool:
        """Return whether the thread waits for an answer."""
        try:
            return bool((await self._service.threads.get(self._caller, self._thread_id)).interrupts)
        except NotFoundError:
            return False

    def _request(self, assistant_id: str, params: Mapping[str, Any], **options: Any) -> RunRequest:
        for name in ("config", "metadata"):
            if not isinstance(params.get(name) or {}, Mapping):
                raise CommandError("invalid_argument", f"{name} must be an object.")
        return RunRequest(
            assistant_id=assistant_id,
            thread_id=self._thread_id,
            config=params.get("config") or {},
            metadata=params.get("metadata") or {},
            stream_modes=MODES,
            stream_subgraphs=True,
            stream_resumable=True,
            **options,
        )

    async def respond(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Answer what the thread asks: one question, or several at once."""
        responses = params.get("responses")
        given = list(responses) if isinstance(responses, list) else [params]
        if not given or not all(
            isinstance(each, Mapping) and isinstance(each.get("interrupt_id"), str) for each in given
        ):
            raise CommandError("invalid_argument", "input.respond requires an interrupt_id.")
        try:
            state = await self._service.threads.state(self._caller, self._thread_id)
        except NotFoundError:
            raise CommandError("no_such_run", _NO_RUN) from None
        open_questions = {each.id for each in state.interrupts}
        for each in given:
            if each["interrupt_id"] not in open_questions:
                name = each["interrupt_id"]
                raise CommandError("no_such_interrupt", f"Unknown or already-consumed interrupt: {name}")
        command: dict[str, Any] = {"resume": {each["interrupt_id"]: each.get("response") for each in given}}
        command |= {name: params[name] for name in ("update", "goto") if params.get(name) is not None}
        await self._continue(params, command=command)
        return {}

    async def inject(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Add a message to the conversation, and go on with it."""
        message = params.get("message")
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise CommandError("invalid_argument", "input.inject requires a message with a role and content.")
        await self._continue(params, input={"messages": [dict(message)]})
        return {}

    async def _continue(self, params: Mapping[str, Any], **options: Any) -> RunRecord:
        thread = await self._service.threads.get(self._caller, self._thread_id)
        assistant_id = thread.metadata.get("assistant_id") or thread.metadata.get("graph_id")
        if not isinstance(assistant_id, str):
            raise CommandError("no_such_run", _NO_RUN)
        return await self._service.runs.create(self._caller, self._request(assistant_id, params, **options))

    async def tree(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the graphs of the run that goes on."""
        run = await self._active(params.get("run_id"))
        made = RunEvents(graph_of(run))
        last = await self._service.runs.last_seq(self._caller, run.run_id)
        if last:
            async with aclosing(self._service.runs.events(self._caller, run.run_id)) as logged:
                async for each in logged:
                    list(made.of(each))
                    if each.seq >= last:
                        break
        return {"tree": _node((), made.tree, graph_of(run))}

    async def _active(self, run_id: Any = None) -> RunRecord:
        """Return the run that goes on, or another one of the thread by its id."""
        try:
            if isinstance(run_id, str):
                return await self._service.runs.get(self._caller, run_id, self._thread_id)
            runs = await self._service.runs.list(self._caller, self._thread_id, limit=_CHECKPOINTS)
        except NotFoundError:
            raise CommandError("no_such_run", _NO_RUN) from None
        active = [each for each in runs if each.status in ("pending", "running") and is_told(each)]
        if not active:
            raise CommandError("no_such_run", _NO_RUN)
        return active[-1]

    async def state(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of the thread's state."""
        state = await self._state(params.get("namespace") or [])
        values = compact(state.values) if isinstance(state.values, Mapping) else {}
        keys = params.get("keys")
        if isinstance(keys, list):
            values = {name: value for name, value in values.items() if name in keys}
        here = place(state.config)
        if here is None:
            return {"values": values}
        return {"values": values, "checkpoint": {"id": here["checkpoint_id"], "ns": here.get("checkpoint_ns", "")}}

    async def _state(self, namespace: Any) -> StateSnapshot:
        if not isinstance(namespace, list) or not all(isinstance(each, str) for each in namespace):
            raise CommandError("invalid_argument", "namespace must be a string array.")
        checkpoint = {"checkpoint_ns": "|".join(namespace)} if namespace else None
        try:
            return await self._service.threads.state(self._caller, self._thread_id, checkpoint)
        except NotFoundError as error:
            raise CommandError("no_such_run", str(error)) from None

    async def checkpoints(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """List the checkpoints of the thread, the newest first."""
        limit, before, namespace = params.get("limit", _CHECKPOINTS), params.get("before"), params.get("namespace")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
            raise CommandError("invalid_argument", f"limit must be a number from 1 to {_MOST}.")
        try:
            found = await self._service.threads.history(
                self._caller,
                self._thread_id,
                limit=limit,
                before={"checkpoint_id": before} if isinstance(before, str) else None,
                checkpoint={"checkpoint_ns": "|".join(namespace)} if namespace else None,
            )
        except NotFoundError as error:
            raise CommandError("no_such_run", str(error)) from None
        return {"checkpoints": [_summary(each) for each in found]}

    async def fork(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a run at an earlier checkpoint of the thread."""
        named = params.get("checkpoint_id")
        if not isinstance(named, str):
            raise CommandError("invalid_argument", "state.fork requires a checkpoint_id.")
        checkpoint = {"checkpoint_id": named, "checkpoint_ns": ""}
        try:
            state = await self._service.threads.state(self._caller, self._thread_id, checkpoint)
        except NotFoundError as error:
            raise CommandError("no_such_run", str(error)) from None
        if state.created_at is None:
            raise CommandError("no_such_checkpoint", f"The thread has no checkpoint {named}")
        run = await self._continue(params, input=params.get("input"), checkpoint=checkpoint)
        return {"run_id": run.run_id, "thread_id": run.thread_id}

    async def subscribe(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a name for a subscription; events are read by a request of their own, or by the WebSocket."""
        del params
        return {"subscription_id": str(uuid4()), "replayed_events": 0}

    async def unsubscribe(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse to end a subscription that is not there."""
        raise CommandError("no_such_subscription", f"There is no subscription {params.get('subscription_id')!r:.60}")

    async def reconnect(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Say whether a reader can go on with a run: its events are stored."""
        run_id = params.get("run_id")
        await self._active(run_id if isinstance(run_id, str) else None)
        return {"restored": True}


_MALFORMED: Final = "Protocol commands must include an integer id and string method."

_METHODS: Final[Mapping[str, Callable[[Commands, Mapping[str, Any]], Awaitable[dict[str, Any]]]]] = {
    "run.start": Commands.start,
    "input.respond": Commands.respond,
    "input.inject": Commands.inject,
    "agent.getTree": Commands.tree,
    "state.get": Commands.state,
    "state.listCheckpoints": Commands.checkpoints,
    "state.fork": Commands.fork,
    "subscription.subscribe": Commands.subscribe,
    "subscription.unsubscribe": Commands.unsubscribe,
    "subscription.reconnect": Commands.reconnect,
}


def _failed(number: Any, code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "id": number, "error": code, "message": message}


def _node(namespace: Namespace, tree: Mapping[Namespace, str], graph_name: str) -> dict[str, Any]:
    """Return a graph with the graphs inside of it."""
    below: Sequence[Namespace] = [each for each in tree if each and each[:-1] == namespace]
    node: dict[str, Any] = {"namespace": list(namespace), "status": tree[namespace], "graph_name": graph_name}
    if below:
        node["children"] = [_node(each, tree, each[-1].partition(":")[0]) for each in below]
    return node


def _summary(state: StateSnapshot) -> dict[str, Any]:
    here = place(state.config) or {}
    metadata: Mapping[str, Any] = state.metadata or {}
    return {
        "id": here.get("checkpoint_id"),
        "timestamp": state.created_at,
        "step": metadata.get("step"),
        "metadata": compact(metadata),
    }
