"""Schedules of runs.

Rules
-----
* A schedule that is due is claimed by one process, for some time; the run that it begins has an id made of the
  schedule's and of the time that it was due, so the next process does the same again if that one dies, and there is one
  run all the same.
* What was missed, because no process was there, is begun once.
* A run is the caller's who made the schedule. What that caller may do is decided when it is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

from stategraph.server.service import paging
from stategraph.server.service.assistants import AssistantTable
from stategraph.server.service.database import Tables, decoded, encoded, when, when_any
from stategraph.server.service.filters import Condition, allowed, contains, every
from stategraph.server.service.port import Runs
from stategraph.server.service.runs.requests import check_config
from stategraph.server.service.schedules import next_after
from stategraph.server.service.threads import ThreadService
from stategraph.server.service.values import (
    FIRST_PAGE,
    Caller,
    Cron,
    Filter,
    InvalidError,
    NotFoundError,
    Page,
    RunRequest,
    ServiceError,
    UnavailableError,
)
from stategraph.workers.registry.port import Rows, Session

#: Seconds after which another process may begin the run of a schedule.
CLAIM_S: Final = 60.0

#: Pause before a schedule that failed is tried again, in seconds.
AGAIN_S: Final = 5.0

#: Schedules that are begun at a time.
_AT_ONCE: Final = 50

_COLUMNS: Final = """cron_id, assistant_id, thread_id, schedule, timezone, CAST(payload AS TEXT),
    CAST(metadata AS TEXT), user_id, on_completion, enabled, end_time, next_run_at, created_at, updated_at"""

_FIELDS: Final = {
    "cron_id": "cron_id",
    "assistant_id": "assistant_id",
    "thread_id": "thread_id",
    "next_run_date": "next_run_at",
    "end_time": "end_time",
    "created_at": "created_at",
    "updated_at": "updated_at",
}

_COMPLETIONS: Final = ("delete", "keep")

_log = logging.getLogger(__name__)


def _as_stored(stored: Mapping[str, Any]) -> Caller:
    """Return the caller of a schedule, who may do what was decided when it was made."""
    return Caller(stored["identity"], stored["user"], tuple(stored["permissions"]))


class CronService:
    """Schedules; `port.Crons` and what the LangGraph API needs besides.

    Args:
        tables: Where they are.
        assistants: Whose runs they begin.
        threads: Where.
        runs: Begins them.
        caller_of: Makes the caller of a run of what was kept of that of the schedule: `identity`, `user` and
            `permissions`. Default: one that may do everything.
    """

    def __init__(
        self,
        tables: Tables,
        assistants: AssistantTable,
        threads: ThreadService,
        runs: Runs,
        caller_of: Callable[[Mapping[str, Any]], Caller] = _as_stored,
    ) -> None:
        self._tables = tables
        self._assistants = assistants
        self._threads = threads
        self._runs = runs
        self._caller_of = caller_of

    async def _check(self, payload: Mapping[str, Any]) -> None:
        """Check what its runs would be refused for."""
        check_config(payload.get("config") or {})
        if payload.get("webhook"):
            await self._runs.check_webhook(payload["webhook"])

    async def create(self, caller: Caller, payload: Mapping[str, Any], *, thread_id: str | None = None) -> Cron:
        """Make a schedule; see `port.Crons.create`."""
        cron_id = str(uuid4())
        value: dict[str, Any] = {
            "cron_id": cron_id,
            "thread_id": thread_id,
            "schedule": payload.get("schedule"),
            "user_id": caller.identity or None,
            "end_time": payload.get("end_time"),
            "payload": dict(payload),
            "metadata": dict(payload.get("metadata") or {}),
        }
        await self._check(payload)
        await caller.authorize("crons", "create", value)
        if thread_id is not None:
            await self._threads.check(caller, thread_id, "create_run", {})
        assistant = await self._assistants.to_run(caller, str(payload.get("assistant_id")))
        cron_id = str(value["cron_id"])
        stored = dict(value["payload"])
        stored["assistant_id"] = assistant.assistant_id
        stored["config"] = _with_id(stored.get("config"), cron_id)
        due = next_after(_text(payload, "schedule"), payload.get("timezone"), datetime.now(UTC))
        completion = _completion(payload) if thread_id is None else None
        who = {"identity": caller.identity, "user": dict(caller.user), "permissions": list(caller.permissions)}
        row = (
            *(cron_id, assistant.assistant_id, thread_id, caller.identity, encoded(who), payload["schedule"]),
            *(payload.get("timezone"), encoded(stored), encoded(value["metadata"]), completion),
            *(int(payload.get("enabled", True)), _seconds(payload.get("end_time")), due.timestamp()),
        )
        statement = """INSERT INTO sg_cron (cron_id, assistant_id, thread_id, user_id, caller, schedule, timezone,
            payload, metadata, on_completion, enabled, end_time, next_run_at, claimed_until, created_at, updated_at)
            VALUES (?, ?, ?, ?, {given}, ?, ?, {given}, {given}, ?, ?, ?, ?, 0, {now}, {now})"""

        def add(session: Session) -> Rows:
            session.change(self._tables.say(statement), row)
            return self._select(session, Condition("cron_id = ?", (cron_id,)))

        return _cron((await self._tables.write(add))[0])

    def _select(self, session: Session, where: Condition, more: str = "", values: tuple[Any, ...] = ()) -> Rows:
        statement = f"SELECT {_COLUMNS} FROM sg_cron WHERE {where.text} {more}"
        return session.execute(self._tables.say(statement), (*where.values, *values))

    def _visible(self, cron_id: str, filter: Filter | None) -> Condition:
        return every([Condition("cron_id = ?", (cron_id,)), allowed(self._tables, "metadata", filter)])

    async def get(self, caller: Caller, cron_id: str) -> Cron:
        """Return a schedule.

        Raises:
            NotFoundError: There is none.
        """
        filter = await caller.authorize("crons", "read", {"cron_id": cron_id})
        where = self._visible(cron_id, filter)
        rows = await self._tables.read(lambda session: self._select(session, where))
        if not rows:
            raise _missing(cron_id)
        return _cron(rows[0])

    async def update(self, caller: Caller, cron_id: str, changes: Mapping[str, Any]) -> Cron:
        """Change a schedule.

        Args:
            caller: Who asks.
            cron_id: The schedule.
            changes: Fields as for `create`: they replace those of the payload, and metadata are merged into the
                schedule's. An `end_time` of None takes it away.

        Raises:
            InvalidError: A field makes no sense.
            NotFoundError: There is none.
        """
        value: dict[str, Any] = {"cron_id": cron_id, "payload": dict(changes), "schedule": changes.get("schedule")}
        filter = await caller.authorize("crons", "update", value)
        where = self._visible(cron_id, filter)
        given = dict(value["payload"])
        await self._check(given)
        ends = _seconds(given.get("end_time"))
        completion = _completion(given) if "on_run_completed" in given else None

        def change(session: Session) -> Rows:
            rows = self._select(session, where, "{lock}")
            if not rows:
                return []
            old = _cron(rows[0])
            payload = {**old.payload, **given}
            if "config" in given:
                payload["config"] = _with_id(given["config"], cron_id)
            schedule = given.get("schedule", old.schedule)
            timezone = given.get("timezone", old.timezone)
            due = old.next_run_at
            if (schedule, timezone) != (old.schedule, old.timezone) or (given.get("enabled") and not old.enabled):
                due = next_after(schedule, timezone, datetime.now(UTC))
            was = None if old.end_time is None else old.end_time.timestamp()
            stored = (
                *(schedule, timezone, encoded(payload), encoded({**old.metadata, **(given.get("metadata") or {})})),
                completion if completion and old.thread_id is None else old.on_completion,
                int(given.get("enabled", old.enabled)),
                ends if "end_time" in given else was,
                *(None if due is None else due.timestamp(), cron_id),
            )
            statement = """UPDATE sg_cron SET schedule = ?, timezone = ?, payload = {given}, metadata = {given},
                on_completion = ?, enabled = ?, end_time = ?, next_run_at = ?, claimed_until = 0, updated_at = {now}
                WHERE cron_id = ?"""
            session.change(self._tables.say(statement), stored)
            return self._select(session, Condition("cron_id = ?", (cron_id,)))

        rows = await self._tables.write(change)
        if not rows:
            raise _missing(cron_id)
        return _cron(rows[0])

    async def delete(self, caller: Caller, cron_id: str) -> None:
        """Delete a schedule; runs that it began stay.

        Raises:
            NotFoundError: There is none.
        """
        filter = await caller.authorize("crons", "delete", {"cron_id": cron_id})
        where = self._visible(cron_id, filter)
        statement = self._tables.say(f"DELETE FROM sg_cron WHERE {where.text}")
        if not await self._tables.write(lambda session: session.change(statement, where.values)):
            raise _missing(cron_id)

    async def search(
        self,
        caller: Caller,
        *,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        enabled: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Cron]:
        """List schedules.

        Args:
            caller: Who asks.
            assistant_id: Those of this assistant.
            thread_id: Those of this thread.
            enabled: Those that are, or are not.
            metadata: Those that have these values among their metadata.
            page: Which part; by default the newest first.
        """
        order = paging.ordered(page, _FIELDS, "created_at", "cron_id")
        where = await self._searched(caller, assistant_id, thread_id, enabled, metadata, page)
        rows = await self._tables.read(lambda session: self._select(session, where, order, paging.limits(page)))
        return [_cron(row) for row in rows]

    async def count(
        self,
        caller: Caller,
        *,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Count schedules; the arguments are those of `search`."""
        where = await self._searched(caller, assistant_id, thread_id, None, metadata, FIRST_PAGE)
        statement = self._tables.say(f"SELECT COUNT(*) FROM sg_cron WHERE {where.text}")
        number: int = (await self._tables.read(lambda session: session.execute(statement, where.values)))[0][0]
        return number

    async def _searched(
        self,
        caller: Caller,
        assistant_id: str | None,
        thread_id: str | None,
        enabled: bool | None,
        metadata: Mapping[str, Any] | None,
        page: Page,
    ) -> Condition:
        value: dict[str, Any] = {
            "assistant_id": assistant_id,
            "thread_id": thread_id,
            "metadata": dict(metadata or {}),
            "limit": page.limit,
            "offset": page.offset,
        }
        filter = await caller.authorize("crons", "search", value)
        parts = [contains(self._tables, "metadata", value["metadata"]), allowed(self._tables, "metadata", filter)]
        for name in ("assistant_id", "thread_id"):
            if value[name] is not None:
                parts.append(Condition(f"{name} = ?", (value[name],)))
        if enabled is not None:
            parts.append(Condition("enabled = ?", (int(enabled),)))
        return every(parts)

    # What is due.

    async def begin_due(self) -> int:
        """Begin the runs of schedules that are due and that no other process has; return how many that were."""
        claimed = await self._tables.write(self._claim)
        begun = 0
        for cron, caller in claimed:
            try:
                begun += await self._try(cron, caller)
            except UnavailableError as error:
                _log.warning("Schedule '%s' is tried again in %s s: %s", cron.cron_id, AGAIN_S, error)
                await self._give_back(cron)
            except Exception:  # of this schedule alone: those behind it are not held up
                _log.exception("Schedule '%s' is tried again in %s s", cron.cron_id, AGAIN_S)
                await self._give_back(cron)
        return begun

    async def _try(self, cron: Cron, caller: Mapping[str, Any]) -> bool:
        """Begin the run of a schedule; False if it is refused, which a later try would not change."""
        begun = True
        try:
            await self._begin(cron, caller)
        except UnavailableError:
            raise
        except ServiceError as error:
            _log.warning("Schedule '%s' began no run: %s", cron.cron_id, error)
            begun = False
        await self._advance(cron)
        return begun

    async def _give_back(self, cron: Cron) -> None:
        """Let any process try a schedule again after a pause."""
        statement = self._tables.say(
            "UPDATE sg_cron SET claimed_until = {now} + ? WHERE cron_id = ? AND claimed_until > {now}"
        )
        try:
            await self._tables.write(lambda session: session.change(statement, (AGAIN_S, cron.cron_id)))
        except Exception as error:
            _log.warning("Schedule '%s' is tried again in %s s: %s", cron.cron_id, CLAIM_S, error)

    def _claim(self, session: Session) -> list[tuple[Cron, Mapping[str, Any]]]:
        where = Condition("enabled = 1 AND next_run_at <= {now} AND claimed_until < {now}")
        rows = self._select(session, where, "ORDER BY next_run_at LIMIT ? {free}", (_AT_ONCE,))
        claimed = []
        for row in rows:
            cron = _cron(row)
            statement = "UPDATE sg_cron SET claimed_until = {now} + ? WHERE cron_id = ?"
            session.change(self._tables.say(statement), (CLAIM_S, cron.cron_id))
            caller = "SELECT CAST(caller AS TEXT) FROM sg_cron WHERE cron_id = ?"
            claimed.append((cron, decoded(session.execute(self._tables.say(caller), (cron.cron_id,))[0][0])))
        return claimed

    async def _begin(self, cron: Cron, caller: Mapping[str, Any]) -> None:
        due = cron.next_run_at
        if due is None or (cron.end_time is not None and due > cron.end_time):
            return
        run_id = str(uuid5(UUID(cron.cron_id), due.isoformat()))
        await self._runs.create(self._caller_of(caller), request_of(cron, run_id))

    async def _advance(self, cron: Cron) -> None:
        """Say when a schedule is due next, unless it was changed meanwhile."""
        due = next_after(cron.schedule, cron.timezone, datetime.now(UTC))
        over = cron.end_time is not None and due > cron.end_time
        statement = self._tables.say(
            """UPDATE sg_cron SET next_run_at = ?, enabled = ?, claimed_until = 0
                WHERE cron_id = ? AND next_run_at = ? AND claimed_until > 0"""
        )
        was = None if cron.next_run_at is None else cron.next_run_at.timestamp()
        values = (None if over else due.timestamp(), 0 if over else 1, cron.cron_id, was)
        await self._tables.write(lambda session: session.change(statement, values))


def request_of(cron: Cron, run_id: str) -> RunRequest:
    """Return the run that a schedule begins."""
    payload = cron.payload
    modes = payload.get("stream_mode") or ("values",)
    return RunRequest(
        assistant_id=cron.assistant_id,
        thread_id=cron.thread_id,
        input=payload.get("input"),
        command=payload.get("command"),
        config=payload.get("config") or {},
        context=payload.get("context"),
        metadata=cron.metadata,
        stream_modes=(modes,) if isinstance(modes, str) else tuple(modes),
        stream_subgraphs=bool(payload.get("stream_subgraphs", False)),
        stream_resumable=bool(payload.get("stream_resumable", False)),
        interrupt_before=payload.get("interrupt_before"),
        interrupt_after=payload.get("interrupt_after"),
        multitask_strategy=payload.get("multitask_strategy") or "enqueue",
        on_completion="keep" if cron.on_completion == "keep" else "delete",
        webhook=payload.get("webhook"),
        durability=payload.get("durability"),
        run_id=run_id,
    )


def _with_id(config: Any, cron_id: str) -> dict[str, Any]:
    """Return the config of runs of a schedule, which name it."""
    given = dict(config or {})
    return {**given, "configurable": {**(given.get("configurable") or {}), "cron_id": cron_id}}


def _completion(payload: Mapping[str, Any]) -> str:
    completion = payload.get("on_run_completed", "delete")
    if completion not in _COMPLETIONS:
        raise InvalidError(f"'on_run_completed' is {completion!r:.40}; expected 'delete' or 'keep'")
    return str(completion)


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str):
        raise InvalidError(f"'{name}' is {value!r:.40}; expected a text")
    return value


def _seconds(given: Any) -> float | None:
    """Return a time that is ISO 8601, or a date, in seconds since 1970; without a time zone it is in UTC."""
    if given is None:
        return None
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise InvalidError(f"'end_time' is {given!r:.40}; expected a time as of ISO 8601") from None


def _missing(cron_id: str) -> NotFoundError:
    return NotFoundError(f"Cron '{cron_id}' not found")


def _cron(row: Sequence[Any]) -> Cron:
    cron_id, assistant_id, thread_id, schedule, timezone, payload, metadata, user_id, on_completion, *rest = row
    enabled, end_time, next_run_at, created_at, updated_at = rest
    return Cron(
        cron_id=cron_id,
        assistant_id=assistant_id,
        thread_id=thread_id,
        schedule=schedule,
        timezone=timezone,
        payload=decoded(payload),
        metadata=decoded(metadata),
        user_id=user_id,
        on_completion=on_completion,
        enabled=bool(enabled),
        end_time=when_any(end_time),
        next_run_at=when_any(next_run_at),
        created_at=when(created_at),
        updated_at=when(updated_at),
    )
