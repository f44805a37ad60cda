"""Older home of runnable helpers."""

from stategraph.engine.callable import RunnableCallable as RunnableCallable
from stategraph.engine.callable import RunnableLike as RunnableLike
