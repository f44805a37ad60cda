"""Values as bytes and back, through a saver's serializer; encrypted if it encrypts.

Equal values have equal bytes only before they are encrypted, so what is compared is the plain bytes, and what is stored
the sealed ones.
"""

from __future__ import annotations

from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde.base import CipherProtocol, SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

#: The kind of bytes that msgpack alone makes.
MSGPACK: Final = "msgpack"

#: What msgpack has a type for, and nothing else; text as the serializers of `langgraph-checkpoint` write it.
_PLAIN: Final = (
    ormsgpack.OPT_NON_STR_KEYS
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
    | ormsgpack.OPT_REPLACE_SURROGATES
)
_UNPACK: Final = ormsgpack.OPT_NON_STR_KEYS


class Coder:
    """Encodes and decodes with one serializer.

    Args:
        serde: The saver's serializer.

    Attributes:
        serde: The serializer.
        joins: Whether encoded elements, put behind each other, are an encoded list.
    """

    __slots__ = ("_cipher", "_inner", "joins", "serde")

    def __init__(self, serde: SerializerProtocol) -> None:
        self.serde = serde
        self._inner: SerializerProtocol = serde.serde if isinstance(serde, EncryptedSerializer) else serde
        self._cipher: CipherProtocol | None = serde.cipher if isinstance(serde, EncryptedSerializer) else None
        self.joins = isinstance(self._inner, JsonPlusSerializer)

    def dump(self, value: object) -> tuple[str, bytes]:
        """Return the kind and the plain bytes of a value."""
        return self._inner.dumps_typed(value)

    def load(self, kind: str, data: bytes) -> Any:
        """Return a value of plain bytes."""
        return self._inner.loads_typed((kind, data))

    def seal(self, kind: str, data: bytes) -> tuple[str, bytes]:
        """Return what is stored of plain bytes."""
        if self._cipher is None:
            return kind, data
        name, sealed = self._cipher.encrypt(data)
        return f"{kind}+{name}", sealed

    def open(self, kind: str, data: bytes) -> tuple[str, bytes]:
        """Return the plain bytes of what is stored; of a serializer with a cipher, also what was stored without."""
        if self._cipher is None or "+" not in kind:
            return kind, data
        plain, name = kind.split("+", 1)
        return plain, self._cipher.decrypt(name, data)


def pack(value: object) -> bytes:
    """Return the bytes of a value that msgpack has a type for.

    Raises:
        TypeError: It, or one in it, is of another type, or of a subclass.
    """
    return ormsgpack.packb(value, option=_PLAIN)


def unpack(data: bytes) -> Any:
    """Return a value of the bytes of `pack`."""
    return ormsgpack.unpackb(data, option=_UNPACK)
