"""Private runnables that packages import."""

from stategraph.engine.callable import RunnableCallable as RunnableCallable
from stategraph.engine.callable import RunnableLike as RunnableLike
from stategraph.engine.callable import RunnableSeq as RunnableSeq
from stategraph.engine.callable import coerce_to_runnable as coerce_to_runnable
from stategraph.engine.callable import is_async_callable as is_async_callable
from stategraph.engine.callable import is_async_generator as is_async_generator
from stategraph.engine.unreached import consume as _consume_aiter

ASYNCIO_ACCEPTS_CONTEXT = True  # since Python 3.11
