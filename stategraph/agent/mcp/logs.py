"""Keep the secrets of a session out of what the packages below it log, such as the words of a server that rambles.

A filter is added to the loggers of the `mcp` package and of its HTTP client. It changes only what the tasks of our own
sessions log, which have the secrets in their context.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

from stategraph.agent.settings.secrets import Secrets

hiding: ContextVar[Secrets | None] = ContextVar("stategraph_mcp_hiding", default=None)
"""The secrets of the session that the current task belongs to."""

# Filters of a logger are not asked for what loggers below it log.
_LOGGERS: Final = (
    *("client", "mcp.client.client", "mcp.client.session", "mcp.client.stdio", "mcp.client.streamable_http"),
    *("mcp.shared.dispatcher", "mcp.shared.jsonrpc_dispatcher", "mcp.client.auth.oauth2"),
    *("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))),
)


_TOLD_IN_ERRORS: Final = "mcp.client.auth"


class _Hiding(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Replace secrets in a record; leave out what our own errors tell of authorization."""
        secrets = hiding.get()
        if secrets is not None and record.name.startswith(_TOLD_IN_ERRORS) and record.levelno > logging.DEBUG:
            return False
        if not secrets:
            return True
        said = record.getMessage()
        if (shown := secrets.text(said)) != said:
            record.msg, record.args = shown, ()
        if record.exc_info:
            raised = logging.Formatter().formatException(record.exc_info)
            if (shown := secrets.text(raised)) != raised:
                record.exc_info, record.exc_text = None, shown
        return True


_filter: Final = _Hiding()


def install() -> None:
    """Add the filter; doing so again changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)
