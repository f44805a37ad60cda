"""A test kit for programs that are built on state graphs.

This package replaces the parts of an agent that a test cannot control: the
language model (:class:`ScriptedChatModel` in the process,
:class:`FakeOpenAIServer` behind a real socket), time (:class:`FakeClock`), ids
(:class:`CountedIds`), the order in which a reader sees a run
(:class:`StreamRecorder`) and the death of a process
(:func:`crash_at_every_save`, :func:`fuzz_signals`). :func:`evaluate` calls real models, or any
program, with a table of cases. One vocabulary, :mod:`stategraph.testing.script`,
says what a scripted model does.

This package imports no other package of stategraph when it is imported,
nothing in stategraph imports it but the demo of the development server, and it
must never need a test framework.
"""

from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock, VirtualTimeLoop
from stategraph.testing.courses import DivergedError
from stategraph.testing.crashes import CrashReport, crash_at_every_save
from stategraph.testing.differences import explain
from stategraph.testing.evaluation import (
    AtMost,
    Case,
    CaseResult,
    Contains,
    Equals,
    EvaluationFailedError,
    JSONSchema,
    LLMJudge,
    Outcome,
    Regex,
    Report,
    Score,
    ToolCalled,
    aevaluate,
    cases_of,
    evaluate,
)
from stategraph.testing.ids import CountedIds
from stategraph.testing.openai_server import FakeOpenAIServer, RecordedRequest
from stategraph.testing.recorder import Recorded, StreamRecorder, stable
from stategraph.testing.script import (
    CallPart,
    Drop,
    Failure,
    Fault,
    Gate,
    Hold,
    ModelRequest,
    Pause,
    Reply,
    Script,
    ScriptedModelError,
    ScriptExhausted,
    Text,
    Think,
    ToolCall,
    Usage,
    call,
    reply,
)
from stategraph.testing.signals import FuzzError, SignalReport, count_effect, fuzz_signals

__all__ = [
    "AtMost",
    "CallPart",
    "Case",
    "CaseResult",
    "Contains",
    "CountedIds",
    "CrashReport",
    "DivergedError",
    "Drop",
    "Equals",
    "EvaluationFailedError",
    "Failure",
    "FakeClock",
    "FakeOpenAIServer",
    "Fault",
    "FuzzError",
    "Gate",
    "Hold",
    "JSONSchema",
    "LLMJudge",
    "ModelRequest",
    "Outcome",
    "Pause",
    "Recorded",
    "RecordedRequest",
    "Regex",
    "Reply",
    "Report",
    "Score",
    "Script",
    "ScriptExhausted",
    "ScriptedChatModel",
    "ScriptedModelError",
    "SignalReport",
    "StreamRecorder",
    "Text",
    "Think",
    "ToolCall",
    "ToolCalled",
    "Usage",
    "VirtualTimeLoop",
    "aevaluate",
    "call",
    "cases_of",
    "count_effect",
    "crash_at_every_save",
    "evaluate",
    "explain",
    "fuzz_signals",
    "reply",
    "stable",
]
