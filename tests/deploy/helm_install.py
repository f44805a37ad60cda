"""Installs a chart with Helm, which `helm-sdkpy` brings, into an API server; run by a Python from 3.12 on.

python helm_install.py lint CHART
python helm_install.py install CHART RELEASE URL NAMESPACE VALUES.json
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import helm_sdkpy as helm

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{url}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: nobody}}}}]
users: [{{name: nobody, user: {{}}}}]
current-context: here
"""


def main() -> int:
    """Do what the command line says; exit code 3: Helm refuses the chart or its values."""
    action, chart, *more = sys.argv[1:]
    try:
        if action == "lint":
            print(json.dumps(asyncio.run(helm.Lint(helm.Configuration()).run(chart))))
            return 0
        release, url, namespace, values = more
        configuration = helm.Configuration(namespace=namespace, kubeconfig=KUBECONFIG.format(url=url))
        given = json.loads(Path(values).read_text())
        done = asyncio.run(helm.Install(configuration).run(release, chart, values=given, wait=False))
    except helm.HelmError as error:
        print(error)
        return 3
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
