"""The graphs that the client calls, those of the tests."""

from __future__ import annotations

from tests.server.protocols import test_openai

_made = test_openai.graphs()
agent, branches, expert, counting = (_made[name] for name in ("agent", "branches", "expert", "counting"))
asking, failing, slow, deleting = (_made[name] for name in ("asking", "failing", "slow", "deleting"))
client_tool, telling = _made["client-tool"], _made["telling"]
