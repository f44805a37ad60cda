"""Typed output of agents: schemas for models, answers validated, problems told to the model, the record on the thread.

It must never know models by their providers, the nodes of an agent's graph, or who listens: it is rules without I/O. An
output is marked on the message that gave it, so all that is known about it is read from the conversation and survives
pauses, other processes and edits of the state.
"""
