"""What an example promises to print."""

import ast
import textwrap
from pathlib import Path


def promised(path: Path) -> str:
    """Return the output that the example's docstring announces."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    _, found, block = docstring.partition("Prints::\n\n")
    assert found, f"{path.name} does not say what it prints"
    return textwrap.dedent(block).rstrip() + "\n"
