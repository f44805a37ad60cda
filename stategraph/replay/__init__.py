"""Record a run with all that comes from outside of it, and replay it to the byte without a network.

`record` stands in for a graph and writes a file; `replay` and `assert_replays` call the graph again with what is in it.
`recorded` marks what leads outside of a graph; `now`, `uuid` and `random` are sources of a node's own. A run that is
neither recorded nor replayed is not changed and costs nothing: the engine knows this package by one port, `Tape`.

The package must never replace anything in a library, import a module because a file names it, or ask a network.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False  # importing typing would be most of this module's cost; type checkers know the bare name
if TYPE_CHECKING:
    from stategraph.replay.errors import RecordingError as RecordingError
    from stategraph.replay.errors import ReplayMismatch as ReplayMismatch
    from stategraph.replay.recording import Recorder as Recorder
    from stategraph.replay.recording import record as record
    from stategraph.replay.replaying import Replay as Replay
    from stategraph.replay.replaying import areplay as areplay
    from stategraph.replay.replaying import assert_replays as assert_replays
    from stategraph.replay.replaying import replay as replay
    from stategraph.replay.sources import now as now
    from stategraph.replay.sources import random as random
    from stategraph.replay.sources import uuid as uuid
    from stategraph.replay.standins import recorded as recorded
    from stategraph.replay.updating import aupdate as aupdate
    from stategraph.replay.updating import update as update

__all__, __getattr__ = _loader(
    globals(),
    {
        "errors": ("RecordingError", "ReplayMismatch"),
        "recording": ("Recorder", "record"),
        "replaying": ("Replay", "areplay", "assert_replays", "replay"),
        "sources": ("now", "random", "uuid"),
        "standins": ("recorded",),
        "updating": ("aupdate", "update"),
    },
)
