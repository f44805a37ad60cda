"""`stategraph thread export` and `import`: a thread as a file of JSON, with its whole state."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stategraph.cli.output import Output, counted, text_of, write_file
from stategraph.cli.thread import deltas
from stategraph.cli.thread.opened import Opened
from stategraph.cli.values import plain

if TYPE_CHECKING:
    from stategraph.run.threads.rules import Row


async def export(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    """Write a thread as JSON."""
    from stategraph.cli.thread.state import STATE, state_of

    thread_id = arguments.thread_id
    exported = await opened.threads.export(thread_id)
    view = await opened.threads.get(thread_id)
    values, missing = plain(view.values), await deltas.not_shown(opened, view)
    exported = {
        **exported,
        "values": values,
        "not_shown": missing,
        STATE: await state_of(opened.saver, opened.index, thread_id),
    }
    text = json.dumps(exported, ensure_ascii=False, indent=2)
    if not arguments.output:
        output.show(exported, text)
        return 0
    write_file(arguments.output, text)
    names, messages = sorted(values), len(exported["messages"])
    has = [f"the values {', '.join(names)}"] if names else ["no values"]
    has += [counted(messages, "message")] if messages else []
    facts = {
        "thread_id": thread_id,
        "file": arguments.output,
        "messages": messages,
        "values": names,
        "not_shown": missing,
    }
    text = f"Thread '{thread_id}' is in {arguments.output}: {', '.join(has)}."
    if missing:
        text += f" Of {', '.join(missing)} it has what was written: values of delta channels only the graph can make."
    output.show(facts, text)
    return 0


async def import_(opened: Opened, arguments: argparse.Namespace, output: Output) -> int:
    """Make a thread of an export: with its whole state, or of one without that with its messages."""
    from stategraph.cli.thread.state import STATE
    from stategraph.errors import ConfigurationError
    from stategraph.run.threads import transfer

    try:
        exported = json.loads(text_of(arguments.file))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"'{arguments.file}' is not JSON ({error}): give what 'thread export' wrote") from None
    thread_id = arguments.new_id or transfer.imported(exported).thread_id
    if thread_id and await _is_there(opened, thread_id):
        raise ConfigurationError(f"There is a thread '{thread_id}' already: name another one with --new-id")
    if isinstance(exported, Mapping) and exported.get(STATE):
        made = await _with_state(opened, exported, arguments)
    else:
        made = await opened.threads.import_thread(exported, new_thread_id=arguments.new_id, owner=arguments.owner)
    waits = ", and waits for an answer" if made.status == "interrupted" else ""
    output.show(made.to_json(), f"Thread '{made.id}' is there{waits}.")
    return 0


async def _is_there(opened: Opened, thread_id: str) -> bool:
    try:
        await opened.threads.info(thread_id)
    except LookupError:
        return False
    return True


async def _with_state(opened: Opened, exported: Mapping[str, Any], arguments: argparse.Namespace) -> Any:
    """Make a thread with a whole state."""
    from stategraph.cli.thread.state import STATE, restore
    from stategraph.run.threads import keeping, transfer

    read = transfer.imported(exported)  # checks the details
    thread_id = arguments.new_id or read.thread_id or None
    made = await opened.threads.create(thread_id, title=read.title, owner=arguments.owner, metadata=read.metadata)
    try:
        waits = await restore(opened.saver, exported[STATE], made.id)
    except BaseException:
        await opened.threads.delete(made.id)
        raise
    if waits:

        def waiting(row: Row | None) -> Row | None:
            return None if row is None else replace(row, status="interrupted")

        await keeping.change(opened.index, made.id, waiting)
    return await opened.threads.info(made.id)
