"""The inspector: threads step by step, what each step changed, and branches from any of them.

    values.py        values of states as JSON that is read and edited by people
    differences.py   what is not the same in two of them
    graphs.py        the target's graph, which reads and writes its states; drawn, with the graphs nested in it
    steps.py         the checkpoints of a thread: listed, and one in detail
    paths.py         which way a turn took through the graph
    listing.py       threads with the size of their states
    comparing.py     two branches beside each other
    editing.py       states changed, and branches begun
    inspector.py     all of it on the runtime of a server
    routes.py        the HTTP API

It reads and writes states through the compiled graph alone, so any saver and any graph will do, also one of an
installed LangGraph. It must never know what the page looks like.
"""
