"""The event stream: one run as events in an envelope, and the projections that are folded from them.

The events are the chunks of the other stream modes, nothing else: `stream_events` calls `stream` and reads its parts.
Every reader pulls, so a run is never ahead of its readers.

    part ── envelope ── mux ──┬── transformers ── queues ── readers of a projection
                              └── log ── readers of plain events

`transformer` is the extension point and `queue` what it pushes to; `modes`, `conversation`, `lifecycle` and `subgraphs`
are the transformers that come with the engine; `mux` hands events to them, `run` is what the caller holds, `opening`
puts it all together. This package must never know how a run is driven or stored: it has a graph's `stream` and that is
all.
"""
