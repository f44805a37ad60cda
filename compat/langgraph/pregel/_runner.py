"""A private name that instrumentations look for; the engine has no such runner."""

from stategraph.engine.interop.instrumentation import PregelRunner as PregelRunner
