"""A graph whose module takes its time when it is imported: until a test lets it go on."""

from __future__ import annotations

from tests.workers import app

app.imports.append(__name__)
app.may_import.wait(60)
if app.import_exits:
    raise SystemExit("not here")

graph = app.steps
