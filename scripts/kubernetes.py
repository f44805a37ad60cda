"""Hold what stategraph gives to Kubernetes against its schemas, and say what could not run here."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
VERSION = "1.37"


def main() -> int:
    """Run every check that can run; return 1 if one fails."""
    sys.path.insert(0, str(ROOT))
    from stategraph.resources.crds import definitions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helm", metavar="PYTHON", help="a Python from 3.12 on that has helm-sdkpy")
    arguments = parser.parse_args()
    failed = check("definitions of the kinds", json.loads(json.dumps(definitions())))
    if shutil.which("kubectl") is None:
        print("deploy/kustomize: not run, there is no kubectl here")
    else:
        command = ["kubectl", "kustomize", str(ROOT / "deploy/kustomize")]
        built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        failed |= check("deploy/kustomize", list(yaml.safe_load_all(built)))
    if arguments.helm is None:
        print("deploy/helm: not linted, no Python with helm-sdkpy was named (HELM=)")
    else:
        code = (
            "import asyncio, sys, helm_sdkpy as h; c = h.Configuration(namespace='default'); "
            "print(asyncio.run(h.Lint(c).run(sys.argv[1])))"
        )
        done = subprocess.run([arguments.helm, "-c", code, str(ROOT / "deploy/helm/stategraph")], check=False)
        print(f"deploy/helm: lint ended with {done.returncode}")
        failed |= done.returncode != 0
    print("not run: a real API server, which cannot be had without a cluster")
    return int(failed)


def check(what: str, documents: list[dict[str, object]]) -> bool:
    """Print whether documents are valid; return true if one is not."""
    wrong = 0
    for each in documents:
        try:
            kubernetes_validate.validate(each, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong += 1
            print(f"{what}: {each.get('kind')}: {error}")
    print(f"{what}: {len(documents) - wrong} of {len(documents)} are valid for Kubernetes {VERSION}, strictly")
    return wrong > 0


if __name__ == "__main__":
    raise SystemExit(main())
