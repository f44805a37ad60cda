"""Managers of what a traced run calls: made in full only for those who ask, as most code calls nothing that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.utils.uuid import uuid7

from stategraph.engine.config.runnable_config import merge_metadata

_FIELDS: Final = frozenset(
    (
        "handlers",
        "inheritable_handlers",
        "parent_run_id",
        "tags",
        "inheritable_tags",
        "metadata",
        "inheritable_metadata",
    )
)


def child_manager(run: Any, tag: str | None = None) -> Any:
    """Return the manager of a child, like the run manager's `get_child`, in one step: a node's run has three to six.

    Args:
        run: The manager of a chain's run.
        tag: Put on the direct children alone.

    Returns:
        A sync or async callback manager, as the run's.
    """
    kind = _LATE.get(type(run))
    return run.get_child(tag) if kind is None else kind.make(run, tag)


def late_child_manager(run: Any, tag: str | None = None) -> Any:
    """Return the manager of a child that holds nothing until somebody asks; see `child_manager`."""
    kind = _LATE.get(type(run))
    return run.get_child(tag) if kind is None else kind(run, tag)


class LateRun:
    """The manager of a run of which nobody wants to be told, started when something of it is first asked for.

    Args:
        callbacks: The manager that starts it.
        run_id: As of `LateManager.start`.
        tags: The same.
        metadata: The same.
    """

    def __init__(
        self, callbacks: LateManager, run_id: UUID | None, tags: Sequence[str], metadata: Mapping[str, Any] | None
    ) -> None:
        self._callbacks = callbacks
        self._described: tuple[Any, ...] = (run_id, tags, metadata)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        own = vars(self)
        if "started" not in own:
            # One atomic step, so that two threads which ask at the same time get the same run.
            own.setdefault("started", self._callbacks.start(*self._described))
        return getattr(own["started"], name)


class SyncLateRun(LateRun):
    """The manager of such a run that is sync."""


class AsyncLateRun(LateRun):
    """The manager of such a run that is async."""


class LateManager(BaseCallbackManager):
    """The manager of a run's children, made in full when something of it is first asked for.

    Copying or merging it gives an ordinary manager.

    Args:
        run: The manager of the run.
        tag: Put on its direct children alone.
    """

    ordinary: ClassVar[Any]
    """The class of a manager that is made of this one."""

    run_manager: ClassVar[Any]
    """The class of the manager of a run that it starts."""

    late_run: ClassVar[type[LateRun]]
    """The class of one that is not started yet."""

    def __init__(self, run: Any, tag: str | None) -> None:
        # The base constructor is not called: it would make everything.
        self._run = run
        self._tag = tag

    @classmethod
    def make(cls, run: Any, tag: str | None) -> Any:
        """Make the ordinary manager of a run's children."""
        inherited = [own for own in run.inheritable_tags if own != tag]
        handlers, metadata = _once(run.inheritable_handlers), dict(run.inheritable_metadata)
        return cls.ordinary(
            handlers=handlers,
            inheritable_handlers=handlers.copy(),
            parent_run_id=run.run_id,
            tags=inherited.copy() if tag is None else [*inherited, tag],
            inheritable_tags=inherited,
            metadata=metadata,
            inheritable_metadata=metadata.copy(),
        )

    def __getattr__(self, name: str) -> Any:
        if name not in _FIELDS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        own = vars(self)
        # One atomic step for each, so that two threads which ask at the same time get the same objects.
        for field, value in vars(self.make(self._run, self._tag)).items():
            own.setdefault(field, value)
        return own[name]

    @property
    def unmade_handlers(self) -> Sequence[BaseCallbackHandler] | None:
        """Its handlers; None if it has none, or if somebody has asked for something of it, and may have changed it."""
        return None if "handlers" in self.__dict__ else self._run.inheritable_handlers or None

    def start(self, run_id: UUID | None, tags: Sequence[str], metadata: Mapping[str, Any] | None) -> Any:
        """Return the manager of a run that starts, which nobody has been told of; nobody may have asked for anything.

        Args:
            run_id: Its id; None makes one up.
            tags: Tags of the run and all that it calls.
            metadata: The same.
        """
        run, tag = self._run, self._tag
        inherited: list[str] = run.inheritable_tags
        if inherited:
            inherited = [own for own in inherited if own != tag and own not in tags]
        own = inherited if tag is None or tag in tags else [*inherited, tag]
        handlers, labels = _once(run.inheritable_handlers), run.inheritable_metadata
        if not metadata:
            labels = labels.copy()
        elif "lc_versions" in metadata and "lc_versions" in labels:
            labels = merge_metadata(labels, metadata)
        else:
            labels = {**labels, **metadata}
        return self.run_manager(
            run_id=run_id or uuid7(),
            handlers=handlers,
            inheritable_handlers=handlers.copy(),
            parent_run_id=run.run_id,
            tags=[*own, *tags],
            inheritable_tags=[*inherited, *tags],
            metadata=labels,
            inheritable_metadata=labels.copy(),
        )

    def copy(self) -> Any:
        """Make an ordinary manager of the same run's children."""
        if "handlers" not in self.__dict__:
            return self.make(self._run, self._tag)
        return self.ordinary(
            handlers=self.handlers.copy(),
            inheritable_handlers=self.inheritable_handlers.copy(),
            parent_run_id=self.parent_run_id,
            tags=self.tags.copy(),
            inheritable_tags=self.inheritable_tags.copy(),
            metadata=self.metadata.copy(),
            inheritable_metadata=self.inheritable_metadata.copy(),
        )

    def merge(self, other: BaseCallbackManager) -> Any:
        """Make an ordinary manager with the handlers of both."""
        return self.copy().merge(other)


class LateCallbackManager(LateManager, CallbackManager):
    """The manager of the children of a run."""

    ordinary = CallbackManager
    run_manager = CallbackManagerForChainRun
    late_run = SyncLateRun


class AsyncLateCallbackManager(LateManager, AsyncCallbackManager):
    """The manager of the children of an async run: its methods are awaited."""

    ordinary = AsyncCallbackManager
    run_manager = AsyncCallbackManagerForChainRun
    late_run = AsyncLateRun


_LATE: Final[dict[type, type[LateManager]]] = {
    CallbackManagerForChainRun: LateCallbackManager,
    SyncLateRun: LateCallbackManager,
    AsyncCallbackManagerForChainRun: AsyncLateCallbackManager,
    AsyncLateRun: AsyncLateCallbackManager,
}


def _once(handlers: Sequence[BaseCallbackHandler]) -> list[BaseCallbackHandler]:
    """List handlers, each one once."""
    if len(handlers) == 1:
        return [*handlers]
    found: list[BaseCallbackHandler] = []
    for handler in handlers:
        if handler not in found:
            found.append(handler)
    return found
