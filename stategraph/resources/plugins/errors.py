"""Errors of plug-ins.

PluginError
+-- PluginPermissionError   a plug-in asked for, or registered, what it may not (also a PermissionError)
+-- PluginStartError        a plug-in did not start, or its first health check failed
+-- PluginUnavailable       a plug-in is not running, so it cannot be called
+-- PluginTimeout           a call took longer than its time limit (also a TimeoutError)
+-- PluginCallError         a plug-in's own code raised
+-- PluginProtocolError     a plug-in's process sent what nobody could read
+-- IsolationUnavailable    this machine cannot isolate a plug-in as its trust level demands
"""

from __future__ import annotations


class PluginError(Exception):
    """Base of all errors of this package."""


class PluginPermissionError(PluginError, PermissionError):
    """A plug-in asked for, or registered, what it may not."""


class PluginStartError(PluginError):
    """A plug-in did not start; the message says why."""


class PluginUnavailable(PluginError):
    """A plug-in is not running; the message has its state."""


class PluginTimeout(PluginError, TimeoutError):
    """A call took longer than its time limit."""


class PluginProtocolError(PluginError):
    """A plug-in's process sent what nobody could read."""


class IsolationUnavailable(PluginError):
    """This machine cannot isolate a plug-in as its trust level demands; the message has a way out."""


class PluginCallError(PluginError):
    """A plug-in's own code raised.

    Attributes:
        kind: The name of the exception's class.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.kind)
