"""The compact form of checkpoints and writes, the same for every database.

A thread's values are numbered from 1 as they are stored, and never changed. A checkpoint or a write is a record: a tree
of how its values are put together, in which larger ones stand by their numbers. Of a list each element is a value, so
only what was appended is new. Bytes grow with the data, and a value in several checkpoints, channels, writes and
packets is stored once.

    records (rows of checkpoints and of writes): kind, body, refs
    values: number, kind, data, refs

`refs` is JSON, the numbers that a record or value refers to as pairs of a first and a last one: `[[1, 40], [44, 44]]`.
So SQL alone can tell what is needed to read a record, and what nobody refers to any more, without decoding anything and
without a key.

Rules
-----
* Data comes back through the saver's serializer, and from nowhere else.
* A number is given once. A thread's numbers are counted in its row; deleting values changes that row's epoch, by which
  other processes notice that what they know of the thread does not hold any more.
* A channel whose version is that of the checkpoint before is what it was there, and is not encoded again.

This package must never know a database, wait, or keep a lock: it is called by one thread at a time for each thread of a
conversation.
"""
