"""`stategraph new`: projects to begin with, in `templates/`; each runs without a key and passes its own tests."""
