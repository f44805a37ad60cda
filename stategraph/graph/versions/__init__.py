"""Versions of a graph: threads that an earlier version has stored, brought up to the graph of today.

    migration.py       what an author says of a change; the chain of changes
    bringing.py        a stored checkpoint, brought up
    fingerprinted.py   the same, and its schema has to fit
    pinned.py          threads in flight that go on with the version that began them
    checking.py        which stored threads would break, told without running one

It must never run a node or write to a saver: what was brought up is stored with the next checkpoint of a run.
"""
