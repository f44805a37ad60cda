"""Skills for clients: the extension `io.modelcontextprotocol/skills` of 2026-07-28 (SEP-2640).

A skill is a folder with a SKILL.md. Each file is a resource, `skill://NAME/PATH`; `skills/list` and `skills/get` tell
its frontmatter, and digest and size of each file. What is served is what was loaded: a file that was changed since is
an error until the server loads the skill anew.
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import mcp_types as wire
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from stategraph.errors import ConfigurationError
from stategraph.governance.skills import frontmatter
from stategraph.governance.skills.loader import NAMES, read_unchanged
from stategraph.governance.skills.skill import Skill, SkillError
from stategraph.server.mcp.callers import Context
from stategraph.server.mcp.settings import McpSettings

EXTENSION: Final = "io.modelcontextprotocol/skills"

#: What every client takes of a skill: files, and bytes of all of them.
MOST_FILES: Final = 512
MOST_BYTES: Final = 16 * 1024 * 1024

_SCHEME: Final = "skill://"
_MAIN: Final = "SKILL.md"
_FOLDER: Final = "inode/directory"


class UriParams(wire.PaginatedRequestParams):
    """Parameters of a request about a resource."""

    uri: str


class Skills:
    """Answers requests about skills.

    Args:
        settings: Of the protocol.

    Raises:
        ConfigurationError: Two skills have one name, or one is larger than clients take.
    """

    def __init__(self, settings: McpSettings) -> None:
        self._hints = {"ttlMs": settings.list_ttl_ms, "cacheScope": "private", "resultType": "complete"}
        self._skills: dict[str, Skill] = {}
        for each in settings.skills:
            _check(each, self._skills)
            self._skills[each.name] = each
        self._entries = {_uri(each, _MAIN): _entry(each) for each in self._skills.values()}

    def serve(self, server: Server[Any]) -> None:
        """Have a server answer requests about skills."""
        server.extensions[EXTENSION] = {"directoryRead": True}
        server.add_request_handler("skills/list", wire.PaginatedRequestParams, self.list)
        server.add_request_handler("skills/get", UriParams, self.get)
        server.add_request_handler("resources/directory/read", UriParams, self.directory)

    async def list(self, context: Context, params: wire.PaginatedRequestParams) -> dict[str, Any]:
        """Return the entries of all skills, on one page."""
        del context, params
        return {"skills": [*self._entries.values()], **self._hints}

    async def get(self, context: Context, params: UriParams) -> dict[str, Any]:
        """Return the entry of a skill, by the address of its SKILL.md."""
        del context
        if params.uri not in self._entries:
            raise MCPError(wire.INVALID_PARAMS, f"Unknown skill: {params.uri}", {"uri": params.uri})
        return {"skill": self._entries[params.uri], **self._hints}

    async def directory(self, context: Context, params: UriParams) -> dict[str, Any]:
        """Return what is directly in a folder of a skill."""
        del context
        skill, path = self._found(params.uri)
        within = f"{path}/" if path else ""
        children = [] if skill is None else list(_children(skill, within))
        if not children or params.uri.endswith("/"):
            raise MCPError(wire.INVALID_PARAMS, f"Not a directory: {params.uri}", {"uri": params.uri})
        found = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in children]
        return {"resources": found, "resultType": "complete"}

    def resources(self) -> Sequence[wire.Resource]:
        """Return the SKILL.md of each skill as a resource."""
        return [_resource(each, _MAIN) for each in self._skills.values()]

    def has(self, uri: str) -> bool:
        """Return whether an address is of a file of a skill."""
        skill, path = self._found(uri)
        return skill is not None and path in _paths(skill)

    def read(self, uri: str) -> Sequence[wire.TextResourceContents | wire.BlobResourceContents]:
        """Read a file of a skill.

        Raises:
            LookupError: There is none.
            MCPError: It was changed since the skill was loaded.
        """
        skill, path = self._found(uri)
        if skill is None or path not in (paths := _paths(skill)):
            raise LookupError(uri)
        try:
            content = read_unchanged(skill, paths[path])
        except SkillError as error:
            raise MCPError(wire.INTERNAL_ERROR, f"The file was changed since its skill was loaded: {uri}") from error
        kind = _kind(path)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return [wire.BlobResourceContents(uri=uri, mime_type=kind, blob=base64.b64encode(content).decode())]
        return [wire.TextResourceContents(uri=uri, mime_type=kind, text=text)]

    def _found(self, uri: str) -> tuple[Skill | None, str]:
        """Return the skill of an address, and the path in it; None if there is none."""
        if not uri.startswith(_SCHEME):
            return None, ""
        name, _, path = uri.removeprefix(_SCHEME).partition("/")
        return self._skills.get(name), path


def _check(skill: Skill, known: Mapping[str, Skill]) -> None:
    if skill.name in known:
        raise ConfigurationError(f"Two skills have the name '{skill.name}': {known[skill.name].folder}, {skill.folder}")
    size = sum(each.size for each in skill.files.values())
    if len(skill.files) > MOST_FILES or size > MOST_BYTES:
        raise ConfigurationError(
            f"The skill '{skill.name}' has {len(skill.files)} files and {size} bytes; clients take {MOST_FILES} files "
            f"and {MOST_BYTES} bytes"
        )


def _uri(skill: Skill, path: str) -> str:
    return f"{_SCHEME}{skill.name}/{path}"


def _paths(skill: Skill) -> Mapping[str, str]:
    """Return the files of a skill: by the path that is shown, the path in its folder."""
    return {_MAIN if path in NAMES else path: path for path in skill.files}


def _entry(skill: Skill) -> dict[str, Any]:
    main = read_unchanged(skill, _paths(skill)[_MAIN]).decode("utf-8")
    head, _ = frontmatter.split(main.replace("\r\n", "\n").replace("\r", "\n"))
    files = [
        {"uri": _uri(skill, shown), "digest": f"sha256:{skill.files[path].digest}", "size": skill.files[path].size}
        for shown, path in _paths(skill).items()
    ]
    return {"uri": _uri(skill, _MAIN), "frontmatter": frontmatter.plain(head), "resources": files}


def _children(skill: Skill, within: str) -> Iterator[wire.Resource]:
    """Yield the files and folders that are directly in a folder of a skill."""
    below = [path.removeprefix(within) for path in _paths(skill) if path.startswith(within)]
    for name in dict.fromkeys(each.partition("/")[0] for each in below):
        if name in below:
            yield _resource(skill, f"{within}{name}")
        else:
            yield wire.Resource(name=name, uri=_uri(skill, f"{within}{name}"), mime_type=_FOLDER)


def _resource(skill: Skill, path: str) -> wire.Resource:
    if path == _MAIN:
        uri = _uri(skill, path)
        return wire.Resource(name=skill.name, uri=uri, mime_type=_kind(path), description=skill.description)
    return wire.Resource(name=path.rpartition("/")[2], uri=_uri(skill, path), mime_type=_kind(path))


def _kind(path: str) -> str:
    if path.endswith(".md"):
        return "text/markdown"
    return mimetypes.guess_type(path)[0] or "text/plain"
