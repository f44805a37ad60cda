"""Archives of skills: unpacked once, into a folder that is named by their content."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

_LARGEST: Final = 32 * 1024 * 1024
_MOST: Final = 1000


def unpacked(archive: Path) -> Path:
    """Return the folder with the content of an archive.

    Files are written below that folder only: links, devices and paths that lead out of it are refused. An archive that
    holds one folder and nothing else stands for that folder.

    Args:
        archive: A .zip, .tar or .tar.gz file.

    Raises:
        ValueError: It is no such archive, too large, or unsafe.
        OSError: It cannot be read.
    """
    content = archive.read_bytes()
    if len(content) > _LARGEST:
        raise ValueError(f"{archive.name} has {len(content):,} bytes; at most {_LARGEST:,} are read")
    folder = Path(tempfile.gettempdir()) / f"stategraph-skill-{hashlib.sha256(content).hexdigest()}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(prefix="stategraph-skill-"))
        try:
            _unpack(archive, fresh)
            fresh.rename(folder)
        except OSError:
            if not folder.exists():  # another process was not faster
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            _check(len(packed.infolist()), sum(each.file_size for each in packed.infolist()))
            for each in packed.infolist():
                if each.filename.startswith("/") or ".." in Path(each.filename).parts:
                    raise ValueError(f"{archive.name} has the path {each.filename!r}, which leads out of it")
            packed.extractall(folder)
        return
    try:
        with tarfile.open(archive) as packed_tar:
            members = packed_tar.getmembers()
            _check(len(members), sum(each.size for each in members))
            packed_tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"{archive.name} is no archive that can be read: {error}") from None


def _check(files: int, size: int) -> None:
    if files > _MOST or size > _LARGEST:
        raise ValueError(f"the archive has {files:,} files of {size:,} bytes; at most {_MOST:,} and {_LARGEST:,}")
