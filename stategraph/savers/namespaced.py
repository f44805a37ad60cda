"""A store whose namespaces all begin with others, which callers neither give nor see."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Item, ListNamespacesOp, MatchCondition, Op, PutOp, Result, SearchOp

from stategraph.engine.config.procedures import Procedure, aperform, perform


class NamespacedStore(BaseStore):
    """A part of another store.

    Args:
        store: The other store.
        beginning: Returns the labels that namespaces begin with in it; asked for each operation. What it raises, the
            operation raises.
    """

    def __init__(self, store: BaseStore, beginning: Callable[[], tuple[str, ...]]) -> None:
        self._store = store
        self._beginning = beginning
        self.supports_ttl = store.supports_ttl
        self.ttl_config = store.ttl_config

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations; see `BaseStore.batch`."""
        return perform(self._executed(ops, self._store.batch))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations; see `BaseStore.abatch`."""
        procedure = self._executed(ops, self._store.abatch)
        return await aperform(procedure)

    def _executed(self, ops: Iterable[Op], execute: Callable[[list[Op]], object]) -> Procedure[list[Result]]:
        part, asked = _Part(self._beginning()), list(ops)
        found = yield partial(execute, [part.own(each) for each in asked])
        return [part.shown(op, each) for op, each in zip(asked, found, strict=True)]


@dataclass(frozen=True, slots=True)
class _Part:
    beginning: tuple[str, ...]

    def own(self, op: Op) -> Op:
        """Return an operation as the whole store is asked for it."""
        match op:
            case GetOp() | PutOp():
                return op._replace(namespace=(*self.beginning, *op.namespace))
            case SearchOp():
                return op._replace(namespace_prefix=(*self.beginning, *op.namespace_prefix))
            case ListNamespacesOp():
                return self._listed(op)
        raise TypeError(f"A store was asked for an operation of type {type(op).__name__}, which is not known here")

    def _listed(self, op: ListNamespacesOp) -> ListNamespacesOp:
        given = op.match_conditions or ()
        of_part = [
            MatchCondition("prefix", (*self.beginning, *each.path)) if each.match_type == "prefix" else each
            for each in given
        ]
        depth = None if op.max_depth is None else op.max_depth + len(self.beginning)
        return op._replace(
            match_conditions=(MatchCondition("prefix", self.beginning), *of_part),
            max_depth=depth,
        )

    def shown(self, op: Op, result: Result) -> Any:
        """Return a result as callers of the part see it."""
        if isinstance(op, ListNamespacesOp):
            return [each[len(self.beginning) :] for each in result or ()]  # type: ignore[union-attr,index]
        if isinstance(result, Item):
            return self._without(result)
        if isinstance(result, list):
            return [self._without(each) for each in result if isinstance(each, Item)]
        return result

    def _without(self, item: Item) -> Item:
        """Return a copy of an item, which may be the one that the store keeps, without the beginning."""
        shown = copy.copy(item)
        shown.namespace = item.namespace[len(self.beginning) :]
        return shown
