"""Exceptions that come from outside: at any line, and by signals at random times."""
