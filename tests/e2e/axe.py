"""Rules of accessibility, from the npm package axe-core, pinned by its integrity and kept in `.cache/`."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

PACKAGE = "axe-core@4.14.1"
INTEGRITY = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
KEPT = Path(__file__).resolve().parents[2] / ".cache" / "axe" / f"{PACKAGE}.js"

#: Findings of these kinds fail a scene.
SERIOUS = ("serious", "critical")


def source() -> str:
    if not KEPT.exists():
        with tempfile.TemporaryDirectory() as scratch:
            command = ["npm", "pack", "--json", "--silent", PACKAGE]
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=True)
            archive = Path(scratch) / str(json.loads(done.stdout)[0]["filename"])
            found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if found != INTEGRITY:
                raise SystemExit(f"{PACKAGE} is not the pinned package: {found}")
            with tarfile.open(archive) as files:
                member = files.extractfile("package/axe.min.js")
                assert member is not None
                KEPT.parent.mkdir(parents=True, exist_ok=True)
                KEPT.write_bytes(member.read())
    return KEPT.read_text(encoding="utf-8")


def serious(page: Page) -> list[str]:
    """What keeps people from using the page as it is now, as sentences."""
    page.evaluate(source())
    found: list[dict[str, Any]] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {each['nodes'][0]['html'][:160]}"
        for each in found
        if each["impact"] in SERIOUS
    ]
