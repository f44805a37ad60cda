"""The command on agents of a fleet."""
