"""Manifests that tests of the console serve: a workflow that asks, and one that is not ready."""

from __future__ import annotations

APP = """
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: greet}
spec:
  inputs: {name: {type: string}}
  state: {greeting: {type: string}, mood: {type: string}}
  steps:
    - {id: say, set: {greeting: "${{ 'Hello, ' + input.name }}"}, next: ask}
    - {id: ask, interrupt: {prompt: "How are you?"}, output: {mood: "${{ result.text }}"}}
---
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: broken}
spec:
  steps: [{id: find, tool: finder}]
"""
