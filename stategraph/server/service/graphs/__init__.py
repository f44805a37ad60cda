"""The graphs of the server, by their ids.

    configuration.py    langgraph.json as values
    environment.py      variables and import paths that it asks for
    loading.py          an object of a program as something that graphs are opened from
    factories.py        functions that make graphs
    served.py           all of them, for protocols and for workers

Code is imported because a configuration names it, never because stored data does: a run names its graph by its id.
"""
