"""`stategraph completion`: completion of commands, options and their values by a shell.

scripts.py    what a shell needs
command.py    the command, and what may stand at a place of a command line
installing.py the script put where a shell reads it
"""
