"""The number of workers of a pool, by what waits in its queue and how long its jobs take.

- `machine` decides: observations in, a number of workers out, without a clock or a pool.
- `driver` observes a `WorkerPool` from time to time and resizes it.

`machine` must never know a clock, a pool or a task; `driver` must never know which backend a pool has.
"""
