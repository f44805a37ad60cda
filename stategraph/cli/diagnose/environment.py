"""The machine and the installation: versions, extras, limits, disk, memory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from stategraph.cli.diagnose.findings import Finding

AREA: Final = "environment"

#: Files that a server should be allowed to open: two for each connection and reader, and some more.
FILES: Final = 4_096

#: Free space below which a disk is nearly full: a share and bytes.
_FREE_SHARE: Final = 0.1
_FREE_BYTES: Final = 1 << 30

_ERRORS: Final = {"error": "fail", "warning": "warn"}


def check(folder: Path) -> Iterator[Finding]:
    """Look at the installation and the machine.

    Args:
        folder: Where the program is, and perhaps its database.
    """
    import stategraph

    where = f"{platform.system()} {platform.release()}, {os.cpu_count()} processors"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("ok", AREA, "version", f"stategraph {stategraph.__version__} on {python}, {where}")
    yield from _installation()
    yield from _extras()
    yield from _files()
    yield from _disk(folder)
    yield from _disk(Path(tempfile.gettempdir()))
    yield from _memory()


def _installation() -> Iterator[Finding]:
    """Say what `stategraph doctor` finds that is wrong."""
    from stategraph import doctor

    for each in doctor.examine().findings:
        if each.level in _ERRORS:
            level = "fail" if each.level == "error" else "warn"
            yield Finding(level, AREA, f"doctor.{each.code}", each.text, "", each.way_out)  # type: ignore[arg-type]


def _extras() -> Iterator[Finding]:
    """Say which extras are there, and which are there in part."""
    try:
        required = metadata.requires("stategraph") or []
    except metadata.PackageNotFoundError:
        yield Finding("ok", AREA, "extras", "run from its source: nothing says which extras were installed")
        return
    by_extra: dict[str, list[str]] = {}
    for line in required:
        if (found := re.search(r"extra == ['\"]([\w-]+)['\"]", line)) is not None:
            by_extra.setdefault(found[1], []).append(re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0])
    whole, partial = [], []
    for extra, packages in sorted(by_extra.items()):
        there = [each for each in packages if _version(each) is not None]
        if len(there) == len(packages):
            whole.append(extra)
        elif there:
            partial.append(f"{extra} without {', '.join(each for each in packages if each not in there)}")
    yield Finding("ok", AREA, "extras", f"whole: {', '.join(whole) or 'none'}; in part: {'; '.join(partial) or 'none'}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _files() -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= FILES or soft == resource.RLIM_INFINITY:
        yield Finding("ok", AREA, "nofile", f"{soft:,} files may be open")
    else:
        yield Finding(
            "warn", AREA, "nofile", f"{soft:,} files may be open, at most {hard:,}",
            f"{FILES:,} for a server with a thousand readers",
            f"ulimit -n {FILES}, LimitNOFILE={FILES} of a unit of systemd, or ulimits of a container",
        )  # fmt: skip


def _disk(folder: Path) -> Iterator[Finding]:
    try:
        found = shutil.disk_usage(folder)
    except OSError as error:
        yield Finding("warn", AREA, "disk", f"{folder}: {error.strerror}", "a folder", "name another one")
        return
    said = f"{folder}: {found.free / 1e9:.1f} of {found.total / 1e9:.1f} GB are free"
    if found.free < _FREE_BYTES or found.free < _FREE_SHARE * found.total:
        way_out = "delete what is not needed: stategraph runs prune, stategraph store prune, stategraph store vacuum"
        level = "fail" if found.free < _FREE_BYTES / 10 else "warn"
        yield Finding(level, AREA, "disk", said, "a tenth, and 1 GB", way_out)  # type: ignore[arg-type]
    else:
        yield Finding("ok", AREA, "disk", said)


def _memory() -> Iterator[Finding]:
    file = Path("/proc/meminfo")
    if not file.exists():
        return
    found = {name: int(number) << 10 for name, number in re.findall(r"(\w+):\s+(\d+) kB", file.read_text())}
    free, total = found.get("MemAvailable", 0), found.get("MemTotal", 0)
    limit = Path("/sys/fs/cgroup/memory.max")
    of_group = limit.read_text().strip() if limit.exists() else "max"
    bound = f"; this group may have {int(of_group) / 1e9:.1f} GB" if of_group.isdigit() else ""
    said = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free{bound}"
    if free < 256 << 20:
        yield Finding("warn", AREA, "memory", said, "0.25 GB", "less --capacity of workers, or a larger machine")
    else:
        yield Finding("ok", AREA, "memory", said)
