"""Typed graphs: what schemas say, held against what flows, where a graph's author asks for it.

    calls.pyi       the calls of a compiled graph as type checkers see them
    options.py      options that their overloads share; not loaded by programs
    key_types.py    the type of each state key, and of an update of it
    validation.py   updates of nodes and outputs of runs, checked against these types
    words.py        a type in words, the same ones for the same type
    fingerprint.py  the schema of a graph in its checkpoints, and what has changed since

A graph that asks for none of it never loads this package. It must never know compiled graphs, versions or savers.
"""
