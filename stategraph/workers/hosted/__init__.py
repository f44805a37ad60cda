"""Runs of hosts that say how each of them is executed, and bring the graphs.

`options` is what a run is submitted with, `sources` the ports by which a worker gets graphs that it does not import,
`streaming` the stream of a graph as the events of a run, `tails` the newest of these for readers in the same process.
This package must never know who its hosts are: no HTTP, and no protocol of a server.
"""
