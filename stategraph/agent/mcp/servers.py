"""Descriptions of MCP servers, as the host program gives them.

Values of `env` and `headers` are secrets, and so may be `args` and parts of an address other than host and path: they
are shown in no representation and no error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from stategraph.agent.mcp.oauth import AuthorizationCode, OAuth
from stategraph.agent.mcp.oauth.users import settings_of
from stategraph.agent.settings import validation
from stategraph.agent.settings.secrets import Secrets, in_address, in_options, shown_address, texts_in
from stategraph.errors import ConfigurationError

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

_PAIR = re.compile(r"([\w-]+)(?:=|:\s+)(.*)", re.DOTALL)
"""An argument that is a name and its value."""

_HEADERS = frozenset({"--header", "--headers", "-h"})

_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]|^\s|\s$")


class _Described(BaseModel):
    """Settings common to all servers.

    Attributes:
        connect_timeout_s: Seconds in which it has to start and answer.
        call_timeout_s: Seconds in which it has to answer a request, unless the call says otherwise. None: no limit.
        log_level: The least important lines of its log that are wanted.
        session: `shared`: one session for all who call; `thread`: one for each thread of a conversation, for a server
            that keeps state; `user`: one for each user (`configurable.user_id` of the run), with that user's tokens.
        idle_s: Seconds without use after which the session of a thread or user ends.
        pins: The tools that may be used, by name, each with its digest (`metadata["mcp"]["digest"]` of a tool that
            somebody has looked at). A tool that is not named, or not that version, is left out, and not called. None:
            all may be used.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )

    connect_timeout_s: PositiveFloat = 30.0
    call_timeout_s: PositiveFloat | None = 60.0
    log_level: LogLevel = "info"
    session: Literal["shared", "thread", "user"] = "shared"
    idle_s: PositiveFloat = 600.0
    pins: Mapping[str, str] | None = None

    @property
    def per_user(self) -> bool:
        """True if no two users share a session."""
        return self.session == "user"


class StdioServer(_Described):
    """A program that is started here and spoken to through its standard input and output.

    Attributes:
        command: The program.
        args: Its arguments.
        env: Variables of its environment, added to the few that are safe to inherit (`PATH`, `HOME` and the like).
        cwd: The folder it runs in; None: this program's.
    """

    type: Literal["stdio"] = "stdio"
    command: str = Field(min_length=1)
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: Mapping[str, SecretStr] = Field(default_factory=dict)
    cwd: Path | None = None

    @property
    def where(self) -> str:
        """The server's location as it may be shown."""
        return self.command

    def endpoint(self) -> dict[str, Any]:
        """Return how it is reached, for reports."""
        return {"transport": "pipe"}

    @property
    def secrets(self) -> Secrets:
        """Texts to hide: values of its environment, and of arguments that are named like secrets."""
        return Secrets((*texts_in(dict(self.env)), *in_options(_options(self.args))))


class HttpServer(_Described):
    """A server that is reached by streamable HTTP.

    Attributes:
        url: The address of its endpoint.
        headers: Sent with every request.
        oauth: How requests are authorized, if the server wants tokens; None: by `headers`, or not at all.
    """

    type: Literal["http", "streamable-http", "streamable_http"] = "http"
    url: str = Field(repr=False)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    oauth: OAuth | None = None

    @model_validator(mode="after")
    def _keeps_users_apart(self) -> Self:
        if not isinstance(self.oauth, AuthorizationCode):
            mixed = self.oauth is not None and self.oauth.user_storage is not None and self.session == "shared"
        elif self.session == "user" and self.oauth.user_storage is None:
            raise ValueError(
                "each user has a session, and one storage would give all of them the tokens of the first; expected "
                "`user_storage` in `oauth`"
            )
        else:
            mixed = self.oauth.user_storage is not None and self.session == "shared"
        if mixed:
            raise ValueError("`user_storage` needs session='user' or 'thread': a shared session has one user's tokens")
        return self

    @property
    def per_user(self) -> bool:
        """True if no two users share a session."""
        return self.session == "user" or (self.oauth is not None and self.oauth.user_storage is not None)

    def of_user(self, user: str) -> HttpServer:
        """Return the description for a user's session, with that user's tokens."""
        return self if self.oauth is None else self.model_copy(update={"oauth": settings_of(self.oauth, user)})

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address of the form https://host/path is expected")
        return url

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            # Refused here, because the HTTP client would repeat the value in its own error.
            if _UNPRINTABLE.search(value.get_secret_value()):
                raise ValueError(
                    f"the value of {name!r} has characters that no header can have, or white space around it (a key "
                    "that was read from a file ends with a line break)"
                )
        return headers

    @property
    def where(self) -> str:
        """The server's location as it may be shown."""
        return shown_address(self.url)

    def endpoint(self) -> dict[str, Any]:
        """Return how and where it is reached, for reports: host and port, nothing else of its address."""
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return {"transport": "tcp", "host": parts.hostname, "port": port}

    @property
    def secrets(self) -> Secrets:
        """Texts to hide: values of its headers, and parts of its address other than host and path."""
        granted = () if self.oauth is None else self.oauth.secrets
        return Secrets((*texts_in(dict(self.headers)), *in_address(self.url), *granted))


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """Read a program's arguments as options, in any notation; others may be addresses.

    `--api-key KEY`, `--api-key=KEY`, `-e API_KEY=KEY` and `--header 'X-Gateway: KEY'` are all understood.
    """
    options: dict[str, Any] = {"": list(arguments)}
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        if (pair := _PAIR.fullmatch(argument)) is not None:
            name, value = pair[1], pair[2]
        elif argument.startswith("-"):
            name, value = argument, following
        else:
            continue
        # Every header is secret, regardless of its name.
        is_header = name.lower() in _HEADERS
        options.setdefault("header" if is_header else name.lstrip("-"), []).append(value)
        if (inner := _PAIR.fullmatch(value)) is not None:
            options.setdefault("header" if is_header else inner[1].lstrip("-"), []).append(inner[2])
    return options


McpServer: TypeAlias = StdioServer | HttpServer


def parse(name: str, given: McpServer | Mapping[str, Any]) -> McpServer:
    """Take a description as it is, or read it from a mapping.

    Args:
        name: The server's name, for errors.
        given: A description; a mapping has either `command` or `url`, in snake_case or camelCase.

    Returns:
        The description.

    Raises:
        ConfigurationError: It is not one. The message repeats no value.
    """
    if isinstance(given, StdioServer | HttpServer):
        return given
    if not isinstance(cast("Any", given), Mapping):
        found = "None" if given is None else f"a value of type {type(given).__name__}"
        raise ConfigurationError(
            f"MCP server {name!r} is {found}; expected a StdioServer, an HttpServer, or a mapping with a "
            "`command` to start or a `url` to reach"
        )
    if "command" in given:
        kind: type[StdioServer] | type[HttpServer] = StdioServer
    elif "url" in given:
        kind = HttpServer
    else:
        near = [
            f"; {key!r} is not known, did you mean {match!r}?"
            for key in given
            for match in difflib.get_close_matches(str(key), ("command", "url"), n=1)
        ]
        hint = "".join(near) or "; give it one"
        raise ConfigurationError(f"MCP server {name!r} has neither a `command` to start nor a `url` to reach{hint}")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        wrong = validation.explain(error, kind, given, values=False).replace("\n", "; ")
    raise ConfigurationError(f"MCP server {name!r} is not described as a {kind.__name__}: {wrong}")
