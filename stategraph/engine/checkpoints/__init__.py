"""Stored state: savers, serialisation, delta channels, checkpoints that cannot be read.

The only package of the project that imports the interfaces of savers, stores and caches. It must never know streams,
or when a run decides to store: it takes the values it is given and keeps their order.
"""
