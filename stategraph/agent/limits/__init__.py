"""Usage and limits of a run: what its calls take, what they cost, and whether another one may begin.

One `Meter` serves a whole tree of agents. It must never know how a run ends, or who is told of it.
"""
