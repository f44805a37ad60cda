"""Conditional edges."""

from stategraph.graph.branch import BranchSpec as BranchSpec
