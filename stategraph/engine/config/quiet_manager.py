"""The callback manager of a task without listeners.

A node may expect that its config carries a callback manager with the id of the run around it, even when no handler is
attached: custom events ask for that id, and a node may attach a handler. This one is made in a tenth of the
time of an ordinary one. What a task's config is merged into may share it with the task; a handler added to it is
therefore kept in the context of the code that added it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, BaseCallbackManager, CallbackManager

from stategraph.engine.config import environment

_added: ContextVar[tuple[tuple[BaseCallbackHandler, bool], ...]] = ContextVar("stategraph_added_handlers", default=())


_QuietT = TypeVar("_QuietT", bound="Quiet")
_MADE_WHEN_ASKED = frozenset(("inheritable_tags", "tags", "inheritable_metadata", "metadata"))


class Quiet(BaseCallbackManager):
    """A manager without handlers that a task and what it calls may share.

    Handlers added to it are visible in the current context and in contexts copied from it, nowhere else. Copying or
    merging it gives an ordinary manager.

    Args:
        parent_run_id: The run that events are attributed to. None makes one up.
        tags: Of that run, for all calls in it.
        metadata: The same.
        child: A further tag, for its direct children.
    """

    ordinary: ClassVar[type[BaseCallbackManager]]
    """The class of a manager that is made of this one."""

    def __init__(
        self,
        parent_run_id: UUID | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        child: str | None = None,
    ) -> None:
        # The base constructor is not called: it assigns `handlers`, and instrumentation libraries replace it to add
        # theirs to every manager. A quiet one exists only where that has been ruled out.
        self._given_run_id = parent_run_id
        self._given = (tags, metadata, child)

    def __getattr__(self, name: str) -> Any:
        """Make tags and metadata when one of them is first asked for: mostly a task calls nothing that does."""
        if name not in _MADE_WHEN_ASKED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        tags, metadata, child = self._given
        labels: dict[str, object] = dict(metadata or {})
        if child is not None:
            labels = {"ls_integration": "langgraph", **labels}
        made = {
            "inheritable_tags": [*tags],
            "tags": [*tags] if child is None else [*tags, child],
            "inheritable_metadata": labels,
            "metadata": labels.copy(),
        }
        # One atomic step for each, so that two threads which ask at the same time get the same objects.
        own = vars(self)
        for key, value in made.items():
            own.setdefault(key, value)
        return own[name]

    @property
    def parent_run_id(self) -> UUID:  # type: ignore[override]
        """The run that events are attributed to; made up on first use, which is rare."""
        if self._given_run_id is not None:
            return self._given_run_id
        # One atomic step, so that two threads which ask at the same time get the same answer.
        made_up: UUID = vars(self).setdefault("made_up_run_id", environment.current().ids.unique())
        return made_up

    @property
    def handlers(self) -> list[BaseCallbackHandler]:  # type: ignore[override]
        """The handlers that this context added; a new list."""
        return [handler for handler, _ in _added.get()]

    @property
    def inheritable_handlers(self) -> list[BaseCallbackHandler]:  # type: ignore[override]
        """The handlers that this context added for its child runs too; a new list."""
        return [handler for handler, inherit in _added.get() if inherit]

    @property
    def is_heard(self) -> bool:
        """True if this context has added a handler."""
        return bool(_added.get())

    def add_handler(self, handler: BaseCallbackHandler, inherit: bool = True) -> None:
        """Attach a handler for the rest of this context."""
        if handler not in self.handlers:
            _added.set((*_added.get(), (handler, inherit)))

    def remove_handler(self, handler: BaseCallbackHandler) -> None:
        """Detach a handler that this context attached."""
        _added.set(tuple(entry for entry in _added.get() if entry[0] != handler))

    def set_handlers(self, handlers: list[BaseCallbackHandler], inherit: bool = True) -> None:
        """Attach these handlers, and only these, for the rest of this context."""
        _added.set(tuple((handler, inherit) for handler in handlers))

    def copy(self) -> Any:
        """Make an ordinary manager of the same run."""
        return self.ordinary(
            self.handlers,
            self.inheritable_handlers,
            self.parent_run_id,
            tags=self.tags.copy(),
            inheritable_tags=self.inheritable_tags.copy(),
            metadata=self.metadata.copy(),
            inheritable_metadata=self.inheritable_metadata.copy(),
        )

    def merge(self, other: BaseCallbackManager) -> Any:
        """Make an ordinary manager with the handlers of both; merged with itself it stays what it is."""
        return self if other is self else self.copy().merge(other)

    def of_kind(self, kind: type[_QuietT]) -> _QuietT:
        """Return this manager, or one of the other kind for the same run."""
        if type(self) is kind:
            return self
        tags, metadata, child = self._given
        return kind(self.parent_run_id, tags, metadata, child)


class QuietCallbackManager(Quiet, CallbackManager):
    """The manager of a sync run's tasks."""

    ordinary = CallbackManager


class AsyncQuietCallbackManager(Quiet, AsyncCallbackManager):
    """The manager of an async run's tasks: its methods are awaited."""

    ordinary = AsyncCallbackManager
