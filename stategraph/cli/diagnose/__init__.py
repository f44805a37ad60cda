"""`stategraph diagnose`: the installation, configuration, connections and stores of a machine, looked at once.

Nothing is changed, and no model is asked for anything that costs. It must never show a secret: each text that leaves
it passes `report`, which hides what variables, files and addresses have of them.
"""
