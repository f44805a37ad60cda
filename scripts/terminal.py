"""Draw a run in a terminal, as it was printed, into `docs/pictures/stream.svg`.

    python scripts/terminal.py            run the example and rewrite the picture (`make format`)
    python scripts/terminal.py --check    fail when the picture is not what the example prints (`make check`)

The example is executed, and each piece of text is recorded as it is written. The picture shows the pieces one after the
other, a twelfth of a second apart, as real times differ from run to run; where motion is not wanted it shows them all.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

EXAMPLE = ROOT / "examples" / "hello_agent.py"
PICTURE = ROOT / "docs" / "pictures" / "stream.svg"
COLUMN, ROW, LEFT, TOP = 8.43, 24, 22, 74
COLUMNS = 74
PIECE_S, PAUSE_S = 0.085, 0.7
COLOURS = {"you": "#8ab4f8", "tool": "#f2b866", "agent": "#7ee2a8", "done": "#9aa4b2"}


@dataclass(slots=True)
class Recorder(io.TextIOBase):
    """A standard output that keeps what was written, piece by piece."""

    pieces: list[str] = field(default_factory=list)

    def write(self, text: str) -> int:
        if text:
            self.pieces.append(text)
        return len(text)


def main() -> int:
    wanted = draw(record())
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(wanted, encoding="utf-8")
        return 0
    held = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
    if held != wanted:
        print(f"{PICTURE.name} is not what {EXAMPLE.name} prints: run `make format`", file=sys.stderr)
    return int(held != wanted)


def record() -> list[str]:
    """Run the example; return the pieces of text that it wrote."""
    recorder = Recorder()
    with contextlib.redirect_stdout(recorder):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return recorder.pieces


def draw(pieces: list[str]) -> str:
    """Return a terminal in which the pieces appear."""
    spans = list(placed(pieces))
    height = TOP + ROW * (max(row for row, *_ in spans) + 1) + 4
    width = LEFT * 2 + COLUMN * COLUMNS
    text = [
        f'<text class="p" style="animation-delay:{at:.2f}s" x="{LEFT + COLUMN * column:.1f}" y="{TOP + ROW * row}" '
        f'fill="{colour}">{escape(piece)}</text>'
        for row, column, piece, colour, at in spans
    ]
    head = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img"
  font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">
<title>An agent streams its answer in a terminal</title>
<style>
text {{ white-space: pre }}
.p {{ animation: appear 0.01s both }}
@keyframes appear {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}
@media (prefers-reduced-motion: reduce) {{ .p {{ animation: none }} }}
</style>
<rect width="{width:.0f}" height="{height}" rx="10" fill="#12161d"/>
<circle cx="22" cy="20" r="5" fill="#ff5f57"/><circle cx="40" cy="20" r="5" fill="#febc2e"/>
<circle cx="58" cy="20" r="5" fill="#28c840"/>
<text x="{LEFT}" y="{TOP - ROW}" fill="#d7dde6">$ python {EXAMPLE.relative_to(ROOT)}</text>"""
    return "\n".join([head, *text, "</svg>", ""])


def placed(pieces: list[str]) -> Iterator[tuple[int, int, str, str, float]]:
    """Yield row, column, text, colour and time of each piece that can be seen."""
    row = column = 0
    at = PAUSE_S
    for piece in pieces:
        for number, part in enumerate(piece.split("\n")):
            if number:
                row, column = row + 1, 0
                at += PAUSE_S
            label = part.partition(" ")[0]
            if column == 0 and label in COLOURS:
                yield row, 0, label, COLOURS[label], at
                blank = part.removeprefix(label)
                column, part = len(label), blank
            if part.strip():
                yield row, column + len(part) - len(part.lstrip()), part.strip(), "#d7dde6", at
                at += PIECE_S
            column += len(part)


if __name__ == "__main__":
    sys.exit(main())
