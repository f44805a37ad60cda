"""The garbage collector is paused for long lists only, and runs again whatever ends the pause."""

from __future__ import annotations

import gc

import pytest

from stategraph.engine.checkpoints import collector
from tests.stopping.graphs import Stop


def test_it_is_paused_for_long_lists_only() -> None:
    with collector.paused(collector.MANY - 1):
        assert gc.isenabled()
    with collector.paused(collector.MANY):
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_exception_of_a_signal_as_it_is_paused_does_not_leave_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    disable = gc.disable

    def disabled_and_stopped() -> None:
        disable()
        raise Stop  # handlers of signals run as a call returns

    monkeypatch.setattr(gc, "disable", disabled_and_stopped)
    try:
        with pytest.raises(Stop), collector.paused(collector.MANY):
            pass
        assert gc.isenabled()
    finally:
        gc.enable()


def test_an_exception_in_the_pause_does_not_leave_it_off() -> None:
    with pytest.raises(Stop), collector.paused(collector.MANY):
        raise Stop
    assert gc.isenabled()


def test_it_stays_off_where_the_program_has_turned_it_off() -> None:
    gc.disable()
    try:
        with collector.paused(collector.MANY):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
