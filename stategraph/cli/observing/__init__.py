"""Commands that look at what runs do: their logs, and a live table of a database."""
