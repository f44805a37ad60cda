"""One way to act: capabilities, policy, approval and audit for whatever a model decides to do.

- `context` says who acts, with what; it is given to a run as runtime context and never stored.
- A `Capability` is something that can be done: a function, a skill, a tool of an MCP server, an agent or a graph.
- Each action passes one pipeline: resolve, validate, authorize, approve, claim, execute, settle, audit.

This package stands on the ports of agents and runs and on the ledger of `workers`. Nothing below imports it, and a
program that configures no policy pays nothing for it. It must never know HTTP servers or front ends.
"""
