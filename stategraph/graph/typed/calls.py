"""The calls of a graph: for programs those of the engine, and for type checkers what `calls.pyi` says of them."""

from stategraph.engine.engine import StateGraphEngine

StateGraphCalls = StateGraphEngine
FunctionGraph = StateGraphEngine
