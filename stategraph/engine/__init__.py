"""The drivers: they perform what the core asks for, and tell the world about it.

This package talks to everything outside: it parses RunnableConfig, calls nodes, waits, retries, keeps time, makes ids,
loads and stores checkpoints, and turns facts into streams and callbacks. It has one thin driver for sync and one for
async, which share everything that is not `await`.

It must never know how a graph is authored (schemas, builders, decorators), and it must not decide what a step does to
the state or what runs next: that is the core's.

Its packages, lowest first. Each imports only those above it in this list:

    config/       RunnableConfig in and out, and what a node is handed: context, store, stream writer, run info
    tracing/      callback handlers: what they are told about chains, tools and pauses
    compile/      everything about a node that is known before a run: how it is called, what it reads and writes
    tasks/        one attempt of a task: scope, time limits, retries, interrupts, worker threads
    checkpoints/  stored state: savers, serialisation, delta channels
    streams/      what a caller is shown: stream modes, and the events of `stream_events`
    runs/         one run from the call to its result: the execution, the two drivers, how a run ends
    state/        a thread looked at and changed from outside a run; a graph drawn
    definition.py the parts of a compiled graph, its settings and schemas
    engine.py     `StateGraphEngine`, the compiled graph that callers hold
    remote/       a graph on a server, behind the same interface
    interop/      LangGraph's private helpers, for the drop-in and packages that import them
"""
