"""One attempt of a task: what it may touch, how long it may take, how it is retried, how it waits for an answer.

It must never know which step a task belongs to or what happens with its writes: it runs one task and hands back how
that ended.
"""
