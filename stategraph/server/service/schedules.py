"""Times at which a schedule is due, with the service's errors; see `stategraph.workers.registry.cron_times`."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from stategraph.server.service.values import InvalidError, MalformedError
from stategraph.workers.registry import cron_times


def zone_of(name: str | None) -> ZoneInfo | None:
    """Return a time zone; None for None.

    Raises:
        InvalidError: There is none of this name.
    """
    try:
        return cron_times.zone_of(name)
    except cron_times.CronError as error:
        raise InvalidError(str(error)) from error


def next_after(schedule: str, timezone: str | None, now: datetime) -> datetime:
    """Return when a schedule is due next, in UTC; the arguments are those of `cron_times.next_after`.

    Raises:
        InvalidError: The schedule, or the time zone, is none.
        MalformedError: It is never due.
        MissingPackageError: `croniter` is not installed.
    """
    try:
        return cron_times.next_after(schedule, timezone, now)
    except cron_times.NeverDue as error:
        raise MalformedError(str(error)) from error
    except cron_times.CronError as error:
        raise InvalidError(str(error)) from error
