"""Times at which a schedule is due: expressions of cron(5), by the package `croniter`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from stategraph.errors import MissingPackageError


class CronError(ValueError):
    """An expression or a time zone that is none."""


class NeverDue(ValueError):
    """An expression that is right and never due, such as one of 30 February."""


def zone_of(name: str | None) -> ZoneInfo | None:
    """Return a time zone; None for None.

    Raises:
        CronError: There is none of this name.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CronError(f"Invalid timezone: '{name}'. Use IANA timezone format (e.g. 'America/New_York').") from None


def next_after(schedule: str, timezone: str | None, now: datetime) -> datetime:
    """Return when a schedule is due next, in UTC.

    Args:
        schedule: Five fields as of cron(5); a sixth one is seconds. Names such as `@daily` too.
        timezone: Name of the time zone whose clock it goes by; None: UTC.
        now: The time after which.

    Raises:
        CronError: The schedule, or the time zone, is none.
        NeverDue: It is never due.
        MissingPackageError: `croniter` is not installed.
    """
    croniter = _package()
    zone = zone_of(timezone)
    try:
        found = croniter.croniter(schedule, now.astimezone(zone or UTC)).get_next(datetime)
    except croniter.CroniterBadDateError as error:
        raise NeverDue(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CronError(
            f"Invalid cron schedule: '{schedule}'. Reason: Invalid cron schedule. Ensure the schedule uses the "
            "standard cron format (minute hour day_of_month month day_of_week). Example: '*/5 * * * *' for every 5 "
            "minutes."
        ) from error
    due: datetime = found
    return due.astimezone(UTC)


def _package() -> Any:
    try:
        import croniter  # an extra, and only who has schedules needs it
    except ImportError as error:
        raise MissingPackageError("stategraph[server]", "A schedule of runs") from error
    return croniter
