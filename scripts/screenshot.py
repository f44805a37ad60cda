"""Take the pictures of the chat page for the documentation.

    .venv-e2e/bin/python scripts/screenshot.py        (after `make e2e-env`; CHROMIUM=/path/to/it)

The page is served as `make chat` serves it, with the embedded model, and used as a person would: a question, a tool, a
call that waits for approval. `docs/pictures/chat-page.png` is the light side, `chat-page-dark.png` the dark one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "pictures"
PORT = 8217
TEXTS = {"My order 1042 never arrived. I would like a refund.": "Approve"}
"""What is said, and the button that is there when it is answered."""


def main() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stategraph", "dev", "--port", str(PORT), "--store", "memory"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        try:
            assert server.stdout is not None
            while f":{PORT}" not in server.stdout.readline():
                if server.poll() is not None:
                    raise SystemExit(f"the server ended with {server.returncode}")
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, scheme in (("chat-page", "light"), ("chat-page-dark", "dark")):
                page = browser.new_context(viewport={"width": 1120, "height": 680}, color_scheme=scheme).new_page()
                page.goto(f"http://127.0.0.1:{PORT}/")
                box = page.get_by_role("textbox", name="Message")
                for text, done in TEXTS.items():
                    box.fill(text)
                    box.press("Enter")
                    expect(page.get_by_role("button", name=done)).to_be_visible(timeout=20_000)
                page.wait_for_timeout(300)
                page.screenshot(path=FOLDER / f"{name}.png")
            browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
