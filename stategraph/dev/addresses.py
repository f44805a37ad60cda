"""Addresses of threads, whose ids are texts of the host's, such as `user/42`: a slash in one is sent as `%2F`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from starlette.routing import Match, Route
from starlette.types import Scope

#: Stands for a slash while a path is matched; no id of a thread has one.
_SLASH: Final = "\0"

_SENT = re.compile("%2F", re.IGNORECASE)


class ThreadRoute(Route):
    """A route whose path has the id of a thread as `{thread_id}`, after `/threads/`.

    The path of a request is given to applications decoded, so that a slash within an id looks like one between two
    parts. This route reads the path as it was sent.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request, see `Route.matches`."""
        sent = scope.get("raw_path") if scope["type"] == "http" else None
        before, threads, rest = sent.decode("ascii", "replace").partition("/threads/") if sent else ("", "", "")
        thread_id, slash, after = rest.partition("/")
        if not _SENT.search(thread_id):
            return super().matches(scope)
        path = unquote(f"{before}{threads}{_SENT.sub(_SLASH, thread_id)}{slash}{after}")
        match, child = super().matches({**scope, "path": path})
        if match is not Match.NONE:
            given = child["path_params"]
            child["path_params"] = {**given, "thread_id": given["thread_id"].replace(_SLASH, "/")}
        return match, child
