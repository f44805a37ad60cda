"""Signals that wake those who wait for the registry: workers, owners of runs that are cancelled, readers of events.

`signals` is what is signalled, `bus` the port with its front, `postgres` and `nats` the connections behind it, `local`
and `sqlite` buses without a connection, `buses` finds one by its address, `waiting` runs tasks beside each other. A
signal says "look now" and carries nothing: what is true is read from the database, so one that is lost, late or heard
twice does no harm. This package must never know what a run is, nor change its rows.
"""
