"""The cases, by theme; every module in here is loaded. See ``kit.py`` for how to write one."""
