"""Audit: the record of actions and of the decisions about them; complete, ordered, provable, and free of secrets.

`event` is what is told, `log` takes it without holding up the caller, and storages keep it in a chain of hashes.

- `preparing` cleans an event before the caller goes on, `intake` queues it, and the thread of `writer` stores it.
- `record` and `chain` say what a row is and how it is hashed; they are pure. `storage` is the port of storages.
- `verification` finds what was changed, `reader` shows events to those who may see them, `erasing` and `archiving` take
  rows or their data away in ways that `verification` can tell from a theft.

This package must never know who tells events, nor which actions there are.
"""
