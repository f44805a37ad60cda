"""The document that describes the server's routes (OpenAPI 3.1), and a page that lists them.

    notation.py    schemas in short words
    schemas.py     bodies of LangGraph's API, in that notation
    operations.py  the routes of each protocol
    document.py    the document of the protocols that are served; its routes

Paths and fields of LangGraph's API are those that its clients know: a superset of what `langgraph dev` lists.
"""
