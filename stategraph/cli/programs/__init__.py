"""Commands on a program of the person: its graphs and agents, found by their import path, run and drawn."""
