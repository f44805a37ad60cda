"""Effects of runs on the outside world: one row for each, written before it is dispatched.

This package must never decide that a call may be repeated because its outcome is unknown: that is for the destination,
or for a person, to say.
"""
