"""Savers whose every write checks that its run still has the thread, in the transaction of the write.

This package must never trust a clock, a heartbeat or a worker's own belief to decide whether a write may happen, and
never change a saver that it was given: it works on copies.
"""
