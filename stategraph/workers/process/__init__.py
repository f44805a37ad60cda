"""Workers that are processes: started with a cleaned environment, told by length-framed msgpack over one socket.

It must never know what a job does: agents, nodes and graphs are jobs like any other.
"""
