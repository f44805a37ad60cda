"""Compilation of specs to objects that run: expressions, tools, models, agents, workflows and networks.

A specification in, a compiled thing out; nothing here reads or writes the store of resources. It knows neither the
loop nor the runtime: what it needs of other resources is handed to it by a `Surroundings`.
"""
