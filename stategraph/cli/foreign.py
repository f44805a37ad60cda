"""Values of classes that are not known here: nothing is imported for them, and nothing of them is lost.

The project's serializer rebuilds the classes that the program has named. A command on a database knows none of these,
so it keeps such a value as the bytes that it was stored as, with the name of its class in them
(`stategraph.engine.checkpoints.serializer`), and writes the same bytes into a copy. For readers it is its fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import ormsgpack

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.checkpoints.serializer import Address, StrictSerializer, address_of, unpacked
from stategraph.engine.checkpoints.serializer import fields_of as fields_of

#: Codes of values that are stored as a class and what it is made of; of all others no class is looked for.
_OF_CLASSES: Final = frozenset({0, 1, 2, 4, 5})


class KeepingSerializer(StrictSerializer):
    """Rebuilds what a `StrictSerializer` does, and keeps any other value as it is stored, as an `ormsgpack.Ext`."""

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Address | type[object]]) -> KeepingSerializer:
        """Return a serializer that may rebuild further classes."""
        extra = {address_of(item) if isinstance(item, type) else tuple(item) for item in extra_allowlist}
        return KeepingSerializer(self.allowed | extra)

    def _rebuild(self, code: int, data: bytes) -> Any:
        if code in _OF_CLASSES:
            module, name = unpacked(data)[:2]
            if self._allowed_class(module, name) is None:
                return ormsgpack.Ext(code, data)
        return super()._rebuild(code, data)


def keeping(saver: Saver) -> Saver:
    """Return a saver on the same database that keeps values of classes which are not known here."""
    saver.serde = KeepingSerializer()
    kept: Saver = saver.with_allowlist(())
    return kept
