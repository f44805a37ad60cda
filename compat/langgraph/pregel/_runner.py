"""A private name that instrumentations look for; the engine has no such runner."""

from stategraph.engine.unreached import PregelRunner as PregelRunner
