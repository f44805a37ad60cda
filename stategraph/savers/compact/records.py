"""Checkpoints and writes as records: the body and the refs of a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from stategraph.savers.compact import lists, nodes
from stategraph.savers.compact.coder import MSGPACK, Coder, pack, unpack
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.encoder import Encoder
from stategraph.savers.compact.known import Known, Root
from stategraph.savers.compact.nodes import Node

_VERSIONS = "channel_versions"
_SEEN = "versions_seen"
_VALUES = "channel_values"
_ID = "id"
_DIGITS = 32
"""Digits of a version's number, in the savers that number versions in text."""


class Record(NamedTuple):
    """The stored form of a checkpoint or of a write.

    Attributes:
        kind: How the body is to be read.
        body: The bytes, sealed.
        refs: The numbers of the values that it refers to, as they are stored; None if there are none.
    """

    kind: str
    body: bytes
    refs: str | None


class Opened(NamedTuple):
    """A checkpoint whose values are not decoded yet.

    Attributes:
        rest: All of it but its values.
        nodes: The nodes of its values by channel; None if it has none.
    """

    rest: dict[str, Any]
    nodes: dict[str, Node] | None


def is_record(kind: str | None) -> bool:
    """Return whether a row of this kind is a record; another one is a value of the serializer."""
    return kind is not None and kind.startswith(nodes.RECORD)


def of_checkpoint(
    encoder: Encoder,
    coder: Coder,
    known: Known,
    place: tuple[str, str | None],
    checkpoint: Mapping[str, Any],
    new_versions: Collection[str],
) -> Record:
    """Return the record of a checkpoint.

    Args:
        encoder: Encodes its values.
        coder: Encodes and seals the record.
        known: What is known of the thread; the checkpoint becomes the newest one of its namespace.
        place: Its namespace, and the id of the checkpoint before it.
        checkpoint: The checkpoint.
        new_versions: The versions of the channels that have changed since the one before.
    """
    namespace, parent_id = place
    versions = checkpoint.get(_VERSIONS) or {}
    root = known.roots.get(namespace)
    before = root if root is not None and root.checkpoint_id == parent_id else None
    found: dict[str, Node] = {}
    for name, value in checkpoint.get(_VALUES, {}).items():
        version = versions.get(name)
        if (
            before is not None
            and version is not None
            and name not in new_versions
            and name in before.nodes
            and before.versions.get(name) == version
        ):
            found[name] = before.nodes[name]
        else:
            found[name] = encoder.node(value, (namespace, name))
    known.keep_root(namespace, Root(checkpoint[_ID], dict(versions), found))
    body = _body(coder, checkpoint, found if _VALUES in checkpoint else None)
    refs = nodes.refs_of(run for node in found.values() for run in nodes.needs(node))
    return Record(*coder.seal(nodes.RECORD, body), refs)


def of_write(encoder: Encoder, coder: Coder, place: tuple[str, str], value: object) -> Record:
    """Return the record of what a task has written to a channel; a small value stands as it is.

    Args:
        encoder: Encodes the value.
        coder: Seals the record.
        place: The namespace and the channel.
        value: The value.
    """
    node = encoder.node(value, place)
    if type(node) is bytes:
        return Record(*coder.seal(MSGPACK, node), None)
    if node is None or (type(node) is list and node[0] == "t"):
        return Record(*coder.seal(*coder.dump(value)), None)
    return Record(*coder.seal(nodes.RECORD, pack(node)), nodes.refs_of(nodes.needs(node)))


def open_checkpoint(coder: Coder, checkpoint_id: str, body: bytes) -> Opened:
    """Return a checkpoint of the plain bytes of its record.

    Raises:
        ValueError: The bytes are no record.
    """
    plain, other, versions, seen, found = unpack(body)
    rest: dict[str, Any] = {_ID: checkpoint_id, **plain}
    if other is not None:
        rest |= coder.load(*other)
    if versions is not None:
        rest[_VERSIONS] = {name: _long(version) for name, version in versions.items()}
    if seen is not None:
        rest[_SEEN] = {node: {name: _long(v) for name, v in each.items()} for node, each in seen.items()}
    return Opened(rest, found)


def read_checkpoint(
    decoder: Decoder, opened: Opened, known: Known | None = None, namespace: str = ""
) -> dict[str, Any]:
    """Return a checkpoint with its values.

    Args:
        decoder: Decodes them.
        opened: The checkpoint.
        known: What is known of the thread, if something may be saved after the checkpoint: it becomes the newest known
            one, and what is saved is compared with it.
        namespace: Its namespace.

    Raises:
        ValueError: A value is missing.
    """
    found = opened.nodes or {}
    values: dict[str, Any] = {}
    for name, node in found.items():
        if known is not None and type(node) is list and node[0] == "l":
            values[name] = lists.read(decoder, node[1:], known, (namespace, name))
        else:
            values[name] = decoder.value(node)
    if known is not None:
        # A run goes on with the versions that it was given, in place.
        known.keep_root(namespace, Root(opened.rest[_ID], dict(opened.rest.get(_VERSIONS) or {}), found))
    return opened.rest if opened.nodes is None else {**opened.rest, _VALUES: values}


def read_write(decoder: Decoder, body: bytes) -> Any:
    """Return what a task has written, of the plain bytes of its record.

    Raises:
        ValueError: A value is missing.
    """
    return decoder.value(unpack(body))


def _body(coder: Coder, checkpoint: Mapping[str, Any], found: dict[str, Node] | None) -> bytes:
    rest = {key: value for key, value in checkpoint.items() if key not in (_ID, _VERSIONS, _SEEN, _VALUES)}
    versions, seen = checkpoint.get(_VERSIONS), checkpoint.get(_SEEN)
    try:
        short = None if versions is None else {name: _short(version) for name, version in versions.items()}
        short_seen = None if seen is None else {k: {n: _short(v) for n, v in each.items()} for k, each in seen.items()}
        return pack([rest, None, short, short_seen, found])
    except (TypeError, AttributeError):
        # Something in it is of another type than a graph's checkpoints have there.
        rest |= {key: checkpoint[key] for key in (_VERSIONS, _SEEN) if key in checkpoint}
        return pack([{}, [*coder.dump(rest)], None, None, found])


@lru_cache(maxsize=4096)
def _short_text(version: str) -> str:
    if version[_DIGITS : _DIGITS + 1] == "." and version[:_DIGITS].isdecimal() and version.isascii():
        return "~" + version.lstrip("0")
    return "=" + version if version[:1] in ("~", "=") else version


def _short(version: object) -> object:
    return _short_text(version) if type(version) is str else version


def _long(version: object) -> object:
    if type(version) is not str:
        return version
    if version[:1] == "~":
        number, _, rest = version[1:].partition(".")
        return f"{number:0>{_DIGITS}}.{rest}"
    return version[1:] if version[:1] == "=" else version
