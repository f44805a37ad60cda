"""Files that a person sends along with a message, that tools return, and that the state of a graph has.

Texts become text of the message, in tags that the page reads again; other files are content blocks as LangChain has
them for all providers. A graph whose state has `files`, a mapping from paths to contents as deepagents keeps them,
offers these for download.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from langchain_core.messages import AnyMessage, ToolMessage

from stategraph.dev.replies import RefusedError

MOST_FILES = 10

_TEXTS = re.compile(r"text/.+|application/(json|xml|yaml|toml|x-yaml|javascript|x-sh|sql|x-ndjson)|.+\+(json|xml)")


def blocks_of(files: object, accepts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the content blocks for files.

    Args:
        files: A list of `{"name", "type", "data"}`, the data as base64; None: none.
        accepts: Kinds of files that the target takes.

    Raises:
        RefusedError: They cannot be read, or are of other kinds.
    """
    if files is None:
        return []
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise RefusedError(400, f"'files' has to be a list of {MOST_FILES} files at most")
    return [_block(each, accepts) for each in files]


def _block(file: object, accepts: Sequence[str]) -> dict[str, Any]:
    if not isinstance(file, Mapping) or not all(isinstance(file.get(key), str) for key in ("name", "type", "data")):
        raise RefusedError(400, "Each of 'files' has a 'name', a 'type' and 'data' in base64")
    name, kind = _safe(file["name"]), file["type"].partition(";")[0].strip().lower()
    try:
        data = base64.b64decode(file["data"], validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, f"The data of the file {name!r} is no base64") from None
    text = _text(kind, data)
    if not any(fnmatchcase("text/plain" if text is not None else kind, each) for each in accepts):
        raise RefusedError(
            400, f"The file {name!r} is of type {kind or 'unknown'}; this agent takes {', '.join(accepts)}"
        )
    if text is not None:
        return {"type": "text", "text": f'<file name="{name}">\n{text}\n</file>'}
    family = kind.partition("/")[0]
    block = {
        "type": family if family in ("image", "audio", "video") else "file",
        "base64": file["data"],
        "mime_type": kind,
    }
    return block if block["type"] != "file" else {**block, "filename": name}


def _text(kind: str, data: bytes) -> str | None:
    """Return the text that a file is; None if it is none."""
    if kind and not _TEXTS.fullmatch(kind) and kind != "application/octet-stream":
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _safe(name: str) -> str:
    """Return a name that can stand in a tag."""
    return re.sub(r'["<>\x00-\x1f]', "_", name)[:120] or "file"


def of_results(messages: Sequence[AnyMessage]) -> dict[str, list[dict[str, Any]]]:
    """Return the pictures and files in results of tools, as content blocks by the ids of their calls."""
    found = {}
    for message in messages:
        if isinstance(message, ToolMessage) and isinstance(message.content, list):
            blocks = [each for each in message.content if isinstance(each, dict) and each.get("type") != "text"]
            if blocks:
                found[message.tool_call_id] = blocks
    return found


def files_in(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files in a state by their paths."""
    files = values.get("files")
    if not isinstance(files, Mapping):
        return {}
    found = {}
    for path, content in files.items():
        body = content.get("content") if isinstance(content, Mapping) else content
        if isinstance(body, list) and all(isinstance(line, str) for line in body):
            body = "\n".join(body)
        if isinstance(path, str) and isinstance(body, str | bytes):
            found[path] = body.encode() if isinstance(body, str) else body
    return found
