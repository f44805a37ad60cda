"""Streams for callers: facts of a run as chunks of its stream modes, and the events of `stream_events`.

It must never know how a run is driven or stored. It only reads facts; nothing it does may change a run.
"""
