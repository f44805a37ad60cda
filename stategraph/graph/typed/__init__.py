"""Typed graphs: what schemas say, held against what flows, where a graph's author asks for it.

    calls.py, .pyi  the calls of a compiled graph: the engine's, and what type checkers know of them
    options.py      options that their overloads share; not loaded by programs
    key_types.py    the type of each state key, and of an update of it
    validation.py   updates of nodes and outputs of runs, checked against these types
    shown.py        values that do not fit as errors show them, without secrets
    words.py        a type in words, the same ones for the same type
    fingerprint.py  the schema of a graph in its checkpoints, and what has changed since

A graph that asks for none of it loads nothing here but the engine's name. It must never know compiled graphs, versions
or savers.
"""
