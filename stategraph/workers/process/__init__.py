"""Workers that are processes: started with a cleaned environment, told by length-framed msgpack over one socket."""
