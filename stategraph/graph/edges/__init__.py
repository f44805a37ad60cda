"""The edges of a graph in the making: joins, and what scheduling without a barrier needs to know of them.

It must never know the builder: it reads the parts of one that it is handed.
"""
