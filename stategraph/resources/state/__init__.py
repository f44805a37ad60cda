"""State that the agents of a network share, and programs with them: keys and JSON, in a database.

`blocking` does the work, `store` is the same for event loops. It must never know resources but by the name of a scope.
"""
