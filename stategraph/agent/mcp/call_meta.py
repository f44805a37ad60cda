"""The `_meta` of MCP requests: information about a call of a tool, beside its arguments.

Code around a tool that knows more about a call, such as the key under which its effect is recorded, sets it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

#: The same for every attempt of one effect.
IDEMPOTENCY_KEY: Final = "stategraph/idempotency-key"

#: The key under which the effect is recorded.
EFFECT_KEY: Final = "stategraph/effect-key"

#: What is sent along with the calls that are made here; None: nothing.
current: ContextVar[Mapping[str, Any] | None] = ContextVar("stategraph_mcp_call_meta", default=None)
