"""Messages and arguments made fit to be stored, sent or shown: encodable, repaired, cut, shortened.

The lowest package of the agents. It must never know an agent, its settings or a run: it is told limits and gets
messages.
"""
