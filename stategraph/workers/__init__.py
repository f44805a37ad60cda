"""Where runs and nodes execute, and how nothing is lost or done twice.

- `pool` is the port for execution: jobs that are data, handles with events, a result and a way to stop. Its backends
  are `inline`, `thread` and `process`. `execution` is the worker's side of a job and `handle` the host's; `wire` is
  what crosses between them, and `references` how code is named rather than sent.
- A registry in the database of the checkpoints holds every run; any worker claims one, keeps its lease alive, and
  writes under a token that a later claim makes worthless. What a run does to the outside world goes through a ledger,
  and what it says through a log that any process can read.

This package stands on `run`, `agent` and `engine`. It must never know HTTP, YAML, tenants or policies: those pass
through as an opaque context. It never imports code because stored data says so, except from modules that the worker was
told of.
"""
