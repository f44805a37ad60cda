"""Older home of runnable helpers."""

from stategraph.engine.compile.functions import RunnableCallable as RunnableCallable
from stategraph.engine.compile.functions import RunnableLike as RunnableLike
