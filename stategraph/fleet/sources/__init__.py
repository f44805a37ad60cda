"""Places where endpoints are registered: a list, a table of a database, a bucket of NATS."""
