"""The drivers: they perform what the core asks for, and tell the world about it.

This room talks to everything outside: it parses RunnableConfig, calls nodes, waits, retries, keeps time, makes ids,
loads and stores checkpoints, and turns facts into streams and callbacks. It has one thin driver for sync and one for
async, which share everything that is not `await`.

It must never know how a graph is authored (schemas, builders, decorators), and it must not decide what a step does to
the state or what runs next: that is the core's.
"""
