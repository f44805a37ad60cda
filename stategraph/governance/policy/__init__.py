"""Policies: decisions about what a model wants to do, made of rules and the facts of one moment.

The model is that of the Agent Control Specification (microsoft/agent-governance-toolkit, `policy-engine/spec`):
intervention points, verdicts, reserved reasons, identities of actions. A policy is pure: it is given a snapshot, reads
no clock, network or database, and gives the same verdict for the same snapshot. What cannot be decided is denied, which
includes what takes too much processor time.
"""
