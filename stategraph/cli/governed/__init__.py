"""Commands of governed actions: what can be done, and which skills there are."""
