"""``make load``: many runs at once, and many token streams at once, on both engines; runs of other engines beside them.

``__main__.py`` starts a new process for each figure and prints the tables; ``child.py`` is that process; ``graphs.py``
has the graphs of both engines, ``peers.py`` the same chain in other engines, each in an environment of its own
(`requirements/load-*.txt`). Nothing fails because a figure is bad; errors and wrong results do.
"""
