"""Kill a process that runs a graph, at random points, and see that the thread ends as if nothing had happened.

Rules
-----
* A *life* is a process that calls the graph, with nothing but the store, until its thread has ended. It is killed at
  its n-th *point*, a call of a function or a return from one, Python's or C's; n is drawn from a seed, so a trial can
  be repeated whatever the speed of the machine.
* Lives are forked from a server that has imported the graph, so a trial takes some milliseconds.
* A *trial* has one life or several that are killed, and one that is not. The state in the end, and how often named
  effects happened, are compared with an undisturbed run.
* What crosses to a life is JSON and import paths.

This package must never need a test framework, nor import a user's graph into the process that asks for the trials.
"""

from stategraph.testing.signals.effects import count_effect
from stategraph.testing.signals.fuzzing import SignalReport, fuzz_signals
from stategraph.testing.signals.lives import FuzzError

__all__ = ["FuzzError", "SignalReport", "count_effect", "fuzz_signals"]
