"""Play the scenes in a real browser: `python -m tests.e2e [-k words] [--shots folder]`; the last line counts them."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import traceback
from pathlib import Path

try:
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    sys.exit("Playwright is not installed here: `make e2e` makes an environment that has it")

from tests.e2e import chat_scenes, console_scenes, inspector_scenes, question_scenes, shots  # noqa: F401 - scenes
from tests.e2e.stage import SCENES, staged


def main() -> int:
    parser = argparse.ArgumentParser(description="Play the scenes of the page in a real browser.")
    parser.add_argument("-k", metavar="WORDS", default="", help="only scenes whose name has these words")
    parser.add_argument("--failures", type=Path, metavar="FOLDER", help="pictures of pages whose scene failed")
    parser.add_argument("--shots", type=Path, metavar="FOLDER", help="play nothing; take pictures of the page")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # runs fail here on purpose
    if options.shots:
        with (
            sync_playwright() as playwright,
            tempfile.TemporaryDirectory() as kept,
            staged(playwright, Path(kept)) as on,
        ):
            shots.take(on, options.shots)
        return 0
    chosen = {name: play for name, play in SCENES.items() if options.k.lower() in name.lower()}
    passed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        staged(playwright, Path(folder)) as stage,
    ):
        for name, play in chosen.items():
            began = time.monotonic()
            try:
                play(stage)
                if stage.complaints:
                    raise AssertionError("the page complained: " + "; ".join(stage.complaints[:3]))
                passed += 1
                print(f"  ok  {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:
                print(f"  NO  {name}", flush=True)
                traceback.print_exc(limit=4)
                if options.failures and stage.pages:
                    options.failures.mkdir(parents=True, exist_ok=True)
                    stage.pages[-1].screenshot(path=options.failures / f"{name[:40].replace(' ', '-')}.png")
            finally:
                stage.close()
    print(f"e2e: {passed} of {len(chosen)}")
    return 0 if passed == len(chosen) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
