"""An account of a thread: what ran, why, what it wrote, and what else waits or did not run.

    facts.py        the account as values; everything that is shown of it is made of these
    outline.py      what is known of a graph: who may lead to whom
    reading.py      the checkpoints of a run, as a saver has them
    behind.py       the tasks behind a checkpoint: planned by the graph, or told from what is stored
    causes.py       the writes that started each task
    accounting.py   from checkpoints to an account
    verdicts.py     for each node whether it ran, waits or did not run, with reasons
    differences.py  two values beside each other
    comparing.py    two checkpoints, threads or runs beside each other
    words.py        sentences
    drawn.py        what is marked in the drawing of the graph
    explanation.py  the account with its words and its drawing
    asking.py       what callers ask for
    shown.py        values shortened, and secrets hidden

Everything is told from checkpoints and what is recorded on them, with the graph if there is one. So it is the same for
any saver, after a restart, and for threads that LangGraph has stored. What checkpoints do not tell is named as such.

It must never change a thread, and run no code of a graph but reducers, migrations and schemas.
"""
