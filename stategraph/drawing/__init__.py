"""Drawing graphs: layered layouts as text for a terminal and as SVG for a page, without a browser or a web service.

It is given nodes and edges and must never know a compiled graph, a run or a terminal.

    picture.py     nodes and edges, also those of langchain-core's drawable graphs
    layout.py      which layer and place each node gets, and the bends of edges that pass layers
    channels.py    the columns and rows of lines between two layers of text
    text.py        boxes and lines of characters
    svg.py         a picture that scales, in the colours of the page that shows it
"""
