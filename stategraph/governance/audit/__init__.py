"""Audit: the record of actions and of the decisions about them; complete, ordered, provable, and free of secrets.

`event` is what is told, `log` takes it without holding up the caller, and storages keep it in a chain of hashes.
"""
