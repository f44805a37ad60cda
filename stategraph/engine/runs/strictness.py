"""Refuses what would otherwise be ignored, for graphs that are strict.

LangGraph ignores a number of inputs that cannot have the effect they ask for: a misspelt stream mode in a list, a key
that no channel has, a checkpoint id that is not there. So does this engine by default. A strict graph raises
`IgnoredInputError` instead, and `UnstorableValueError` for values that would change when stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, get_args

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_THREAD_ID, INTERRUPT
from stategraph.core import explain
from stategraph.core.machine import Machine
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.streams.modes import MODES
from stategraph.errors import IgnoredInputError
from stategraph.types import Command, Durability

ENVIRONMENT: Final = "STATEGRAPH_STRICT"
"""Makes every graph strict that is not told otherwise when it is compiled."""

_YES: Final = frozenset(("1", "true", "yes", "on"))


def by_default() -> bool:
    """Return whether the environment asks for strict graphs."""
    return os.environ.get(ENVIRONMENT, "").strip().lower() in _YES


_BESIDE_CONFIGURABLE: Final = ("max_concurrency", "recursion_limit")
"""Keys of a config that mean nothing inside of its `configurable`."""


class Refusals(dict[str, None]):
    """Takes the place of the notes about what a run ignored: the first one is an error."""

    def __setitem__(self, note: str, _: None) -> NoReturn:
        """Refuse what the note is about.

        Raises:
            IgnoredInputError: Always.
        """
        raise IgnoredInputError(note)


def check_request(plan: RunPlan) -> None:
    """Check what a run's caller asked for.

    Raises:
        IgnoredInputError: Something of it would have no effect.
    """
    for asked in (plan.setup.form.modes, plan.setup.form.printed):
        for mode in (asked,) if isinstance(asked, str) else asked:
            if mode not in MODES:
                _refuse("Stream mode", mode, MODES, "modes")
    durability = plan.given.durability
    if durability is not None:
        if durability not in get_args(Durability):
            _refuse("Durability", durability, get_args(Durability), "durabilities")
        if plan.saver is None and not plan.nested:
            raise IgnoredInputError(
                f"durability='{durability}' has no effect: the graph has no checkpointer. Compile it with one, "
                "or leave durability out."
            )
    if not plan.nested:
        _check_places(plan.config)
    for where, nodes in (("before", plan.setup.interrupt_before), ("after", plan.setup.interrupt_after)):
        for node in () if nodes == "*" else nodes:
            if node not in plan.spec.nodes:
                _refuse(f"interrupt_{where} node", node, plan.spec.nodes, "nodes")


def _check_places(config: Mapping[str, Any]) -> None:
    for key in _BESIDE_CONFIGURABLE:
        if key in config[CONF]:
            raise IgnoredInputError(
                f"'{key}' inside of 'configurable' has no effect: write it beside that, as "
                f"{{'{key}': {config[CONF][key]!r}, 'configurable': {{...}}}}"
            )


def check_found(config: Mapping[str, Any], found: Any) -> None:
    """Check that the checkpoint that a config names is there.

    Args:
        config: The config, as the caller gave it.
        found: What the saver returned for it.

    Raises:
        IgnoredInputError: It is not.
    """
    conf = config[CONF]
    checkpoint_id = conf.get(CONFIG_KEY_CHECKPOINT_ID)
    if found is None and checkpoint_id:
        raise IgnoredInputError(
            f"Thread '{conf.get(CONFIG_KEY_THREAD_ID)}' has no checkpoint '{checkpoint_id}'. get_state_history lists "
            "those it has; leave checkpoint_id out for the latest."
        )


def check_resume(plan: RunPlan, machine: Machine) -> None:
    """Check that an answer has a question.

    Raises:
        IgnoredInputError: A command resumes, and no interrupt waits.
    """
    command = plan.input
    if not isinstance(command, Command) or command.resume is None or plan.nested:
        return
    pending = machine.pending.values()
    if not any(channel == INTERRUPT for writes in pending for channel, *_ in writes):
        raise IgnoredInputError(
            "Command(resume=...) answers nothing: no interrupt of the thread waits. Pass None to continue the thread, "
            "or an input to start again."
        )


def refuse_keys(given: Iterable[Any], known: Sequence[str] | frozenset[str], who: str) -> None:
    """Refuse keys of an update that the state does not have.

    Args:
        given: The keys of the update.
        known: Those of the state.
        who: Who wrote it, as the beginning of a sentence.

    Raises:
        IgnoredInputError: There is such a key.
    """
    for key in given:
        if key not in known:
            _refuse(f"{who} key", key, sorted(known), "keys")


def _refuse(what: str, name: Any, known: Iterable[str], kind: str) -> NoReturn:
    there = explain.what_there_is(str(name), tuple(known), kind)
    raise IgnoredInputError(f"{what} {name!r} would be ignored. {there}")
