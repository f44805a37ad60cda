"""Functions of the host that see a run at fixed points and may influence it; approval of tool calls.

It must never know how an execution is driven or which events readers see.
"""
