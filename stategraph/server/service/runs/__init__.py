"""Runs of the server, over the registry of workers.

requests.py     what a request submits: config, context, command, labels
records.py      a run of the registry as a record
service.py      what protocols call
following.py    all runs of a thread as one stream
webhooks.py     the ends of runs, told to addresses of clients
erasing.py      the end of runs that are taken back, and of threads that were a run's own
hosting.py      the worker in the process of the server, and what is to be done from time to time
"""
