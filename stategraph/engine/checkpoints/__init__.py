"""Stored state: savers, serialisation, delta channels, checkpoints that cannot be read.

The only package of the project that talks to savers, stores and caches. It must never know who streams what, or when
a run decides to store: it takes what it is given and keeps the order.
"""
