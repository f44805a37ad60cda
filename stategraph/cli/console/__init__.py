"""`stategraph console`: resources in the terminal, as they change. Needs the extra `console`."""
