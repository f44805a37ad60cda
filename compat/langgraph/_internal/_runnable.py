"""Private runnables that packages import."""

from stategraph.engine.compile import functions as _functions
from stategraph.engine.compile.functions import RunnableCallable as RunnableCallable
from stategraph.engine.compile.functions import RunnableLike as RunnableLike
from stategraph.engine.compile.functions import RunnableSeq as RunnableSeq
from stategraph.engine.compile.functions import alast as _consume_aiter
from stategraph.engine.compile.functions import coerce_to_runnable as coerce_to_runnable
from stategraph.engine.compile.functions import is_async_callable as is_async_callable
from stategraph.engine.compile.functions import is_async_generator as is_async_generator
from stategraph.engine.interop.checkpoint_helpers import share_setting

ASYNCIO_ACCEPTS_CONTEXT = True  # since Python 3.11

share_setting(__name__, "_consume_aiter", _functions, "alast")
