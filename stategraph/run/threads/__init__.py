"""Threads as a person sees them in the list of a chat: found, read, renamed, copied, exported, deleted.

Checkpoints are a saver's. What a saver has no place for (titles, owners, metadata, when a thread was last used) is
kept in a small index: a table in the saver's own database, or a mapping beside a saver in memory.

It must never know how a run executes (`stategraph.run.run`) or what runs share (`stategraph.run.runtime`), nor import a
driver of a database: it uses the connection of the saver.

    values.py      threads, pages, queries; arguments.py: what hosts give, checked
    rules.py       a row of the index from one state to the next, without I/O
    port.py        the index; who else keeps something of a thread
    memory.py, sql.py, sqlite.py, postgres.py, listing.py   indexes; indexes.py chooses the one for a saver
    conversation.py  the messages of a thread
    copying.py     a thread copied to another
    transfer.py    a thread as JSON, and back
    erasing.py     what is erased with a thread beside its checkpoints
    keeping.py     threads in which something goes on
    threads.py     `Threads`; sync_threads.py its sync twin
"""
