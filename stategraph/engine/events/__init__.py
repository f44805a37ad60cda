"""What an author of stream projections subclasses, and the queue a projection hands out.

A transformer watches the protocol events of a run and folds them into projections: queues that a reader iterates while
the run goes on. This package holds the extension point. It must never know how a run is driven.
"""
