"""Runs of hosts that say how each of them is executed, and bring the graphs.

`options` is what a run is submitted with, `sources` the ports by which a worker gets graphs that it does not import,
`streaming` the stream of a graph as the events of a run, `tails` the newest of these for readers in the same process.
"""
