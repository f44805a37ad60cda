"""Commands of governed actions: what can be done, which skills there are, and what was done."""
