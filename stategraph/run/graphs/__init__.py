"""Runs of graphs that the host made: any compiled graph, of this engine or of an installed LangGraph.

A graph's own stream is the one source of what is told and in which order; what the stream leaves out about a model or a
tool comes from callbacks, and is put where it belongs between the stream's items (`recorder.py`). It must never know a
graph's nodes beyond their names, nor change a graph that it is given.

    loading.py      a graph from what the host gave; hosted_graph.py: the graph, its thread, its steps
    naming.py       which agent speaks at a place
    recorder.py     models and tools, heard through callbacks
    projection.py   items of the stream to facts; execution.py: one execution
    metering.py     usage and limits
    tool_hooks.py   hooks and gates around LangChain's tools
    model_guards.py hooks and gates around models
    reviews.py      LangChain's questions about tool calls, and the answers to them
"""
