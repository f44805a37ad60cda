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

from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import ConfigurationError

#: The kind of bytes that msgpack alone makes.
MSGPACK: Final = "msgpack"

#: How the kinds begin that the serializer does not make.
_OWN: Final = "sg."

#: In a kind, stands before that of a serializer of its own.
_MADE_BY_IT: Final = "="

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
        reads_as: Equal for coders that bring back the same values of the same plain bytes.
    """

    __slots__ = ("_cipher", "_inner", "_is_its_own", "joins", "reads_as", "serde")

    def __init__(self, serde: SerializerProtocol) -> None:
        self.serde = serde
        self._inner: SerializerProtocol = serde
        self._cipher: CipherProtocol | None = None
        if isinstance(serde, EncryptedSerializer) and _does_as(serde, EncryptedSerializer):
            self._inner, self._cipher = serde.serde, serde.cipher
        self.joins = _does_as(self._inner, StrictSerializer) or _does_as(self._inner, JsonPlusSerializer)
        self._is_its_own = self._cipher is None and not self.joins
        # Each graph tells the saver of its classes, and gets a serializer of its own.
        self.reads_as: object = self._inner.allowed if type(self._inner) is StrictSerializer else self._inner

    def dump(self, value: object) -> tuple[str, bytes]:
        """Return the kind and the plain bytes of a value."""
        kind, data = self._inner.dumps_typed(value)
        return kind, data if type(data) is bytes else bytes(data)  # a bytearray is given back as it is

    def load(self, kind: str, data: bytes) -> Any:
        """Return a value of plain bytes."""
        return self._inner.loads_typed((kind, data))

    def seal(self, kind: str, data: bytes) -> tuple[str, bytes]:
        """Return what is stored of plain bytes."""
        if self._cipher is not None:
            name, sealed = self._cipher.encrypt(data)
            return f"{kind}+{name}", sealed
        if self._is_its_own and kind.startswith(_OWN):
            # Values have been through it, and it may encrypt: so does what tells of channels and keys.
            name, sealed = self.dump(data)
            return f"{kind}+{_MADE_BY_IT}{name}", sealed
        return kind, data

    def open(self, kind: str, data: bytes) -> tuple[str, bytes]:
        """Return the plain bytes of what is stored; of a serializer with a cipher, also what was stored without.

        Raises:
            ConfigurationError: It is encrypted, and there is no cipher; or it was stored with another serializer.
        """
        if kind is None or "+" not in kind:
            return kind, data
        plain, name = kind.split("+", 1)
        if name.startswith(_MADE_BY_IT) and plain.startswith(_OWN):
            if not self._is_its_own:
                raise ConfigurationError(
                    f"What is stored was made by a serializer of its own, of kind '{kind}', and the saver's is "
                    f"{type(self.serde).__name__}: open the saver with the serializer that it was stored with"
                )
            return plain, self.load(name.removeprefix(_MADE_BY_IT), data)
        if self._cipher is not None:
            return plain, self._cipher.decrypt(name, data)
        if plain.startswith(_OWN):
            raise ConfigurationError(
                f"What is stored is encrypted, of kind '{kind}', and the saver's serializer has no cipher: open "
                "the saver with the EncryptedSerializer, and the key, that it was stored with"
            )
        return kind, data


def _does_as(serde: SerializerProtocol, cls: type[SerializerProtocol]) -> bool:
    """Return whether a serializer makes and reads bytes as a class does; a subclass may do anything."""
    kind = type(serde)
    return kind.dumps_typed is cls.dumps_typed and kind.loads_typed is cls.loads_typed


def pack(value: object) -> bytes:
    """Return the bytes of a value that msgpack has a type for.

    Raises:
        TypeError: It, or one in it, is of another type, or of a subclass.
    """
    return ormsgpack.packb(value, option=_PLAIN)


def unpack(data: bytes) -> Any:
    """Return a value of the bytes of `pack`."""
    return ormsgpack.unpackb(data, option=_UNPACK)
