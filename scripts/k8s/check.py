#!/usr/bin/env python3
"""Checks the Kubernetes manifests: `make check-k8s`, and a part of `make test`.

Every overlay renders, fits the schemas of current Kubernetes versions and the policy of policy.py; the policy itself
finds what is wrong in bad manifests (test_policy.py); the alerts do what their tests say; the broker takes its
configuration; and what Compose is started with holds what the same policy asks of it (compose.py). Where promtool
cannot be had the alerts' tests are left out and that is said; where CI is set it fails instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import tools

# The oldest with all that the manifests use, and those that are supported now.
VERSIONS = ("1.30", "1.34", "1.35", "1.36", "1.37")
# Kinds of extensions, whose schemas are not Kubernetes' own. The policy looks into them all the same.
EXTENSIONS = ("HTTPRoute", "PrometheusRule", "ServiceMonitor")
K8S = tools.ROOT / "k8s"
# What calls metrics and chapters of docs/OPERATIONS.md by name.
NAMING = [f"k8s/components/{file}" for file in (
    "alerts/rules.yaml", "dashboard/mandrill-live.json", "sessions-autoscaling/adapter-rule.yaml",
    "sessions-autoscaling/kustomization.yaml")]
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))


def main() -> None:
    try:
        python = tools.environment()
        # Its packages are needed from here on.
        if Path(sys.prefix) != tools.ENVIRONMENT:
            os.execv(python, [str(python), __file__])
        wrong = check()
    except tools.Unavailable as unavailable:
        sys.exit(f"k8s: {unavailable}")
    tests = unittest.defaultTestLoader.loadTestsFromName("test_policy")
    passed = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests).wasSuccessful()
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(0 if passed and not wrong else f"k8s: {len(wrong)} findings")


def check() -> list[str]:
    import compose
    import policy

    wrong = []
    for overlay in OVERLAYS:
        documents = render(overlay)
        found = [*schemas(documents), *policy.findings(documents), *policy.strangers(documents, text(".env.example"))]
        print(f"k8s: {overlay}: {len(documents)} manifests, {len(found)} findings "
              f"(schemas of {', '.join(VERSIONS)}; {', '.join(EXTENSIONS)} by the policy only)")
        wrong += [f"{overlay}: {finding}" for finding in found]
    json.loads((K8S / "components/dashboard/mandrill-live.json").read_text())
    for file in NAMING:
        wrong += policy.unknown(file, text(file), text("docs/OPERATIONS.md"))
    return [*wrong, *compose.findings(*one_machine()), *alerts(), *broker()]


def text(file: str) -> str:
    return (tools.ROOT / file).read_text()


def one_machine() -> tuple[dict, str, str, str]:
    """What Compose is started with."""
    import yaml

    texts = [text(name) for name in
             ("compose.yaml", "gateway/haproxy.cfg", "k8s/components/nats/nats.conf", ".env.example")]
    return yaml.safe_load(texts[0]), *texts[1:]


def render(overlay: str) -> list[dict]:
    import yaml

    answer = subprocess.run([tools.kubectl(), "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"k8s: {overlay} does not render: {answer.stderr.strip()}")
    return list(yaml.safe_load_all(answer.stdout))


def schemas(documents: list[dict]) -> list[str]:
    import kubernetes_validate

    wrong = []
    for document in documents:
        if document["kind"] in EXTENSIONS:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                wrong.append(f"{document['kind']} {document['metadata']['name']}, {version}: {where}: {error.message}")
    return wrong


def alerts() -> list[str]:
    """The rules as Prometheus reads them, and their tests."""
    import yaml

    try:
        promtool = tools.promtool()
    except tools.Unavailable as unavailable:
        print(f"k8s: alerts: SKIPPED, their tests did not run: {unavailable}", file=sys.stderr)
        return ["alerts: where CI is set their tests have to run"] if os.environ.get("CI") else []
    source = K8S / "components/alerts"
    with tempfile.TemporaryDirectory() as folder:
        rules = yaml.safe_load((source / "rules.yaml").read_text())["spec"]
        (Path(folder) / "rules.yaml").write_text(yaml.safe_dump(rules))
        (Path(folder) / "tests.yaml").write_text((source / "tests.yaml").read_text())
        answer = subprocess.run([promtool, "test", "rules", "tests.yaml"], cwd=folder, capture_output=True, text=True)
        count = len(yaml.safe_load((source / "tests.yaml").read_text())["tests"])
    print(f"k8s: alerts: {count} tests with series, {'all hold' if answer.returncode == 0 else 'not all hold'}")
    untested = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    untested = [name for name in sorted(untested) if name not in (source / "tests.yaml").read_text()]
    return [f"alerts: {answer.stdout}{answer.stderr}"] * (answer.returncode != 0) + [f"alerts: no test of {n}" for n in untested]


def broker() -> list[str]:
    """nats-server's own word on its configuration, with secrets as make_secrets.py makes them."""
    server = os.environ.get("NATS_SERVER") or "nats-server"
    with tempfile.TemporaryDirectory() as folder:
        make = [sys.executable, tools.ROOT / "scripts/make_secrets.py", "--folder", folder]
        subprocess.run(make, check=True, capture_output=True)
        for name in ("nats.conf", "accounts.conf", "cluster.conf"):
            (Path(folder) / name).write_text((K8S / "components/nats" / name).read_text())
        variables = {**os.environ, "SERVER_NAME": "nats-0", "MAX_FILE_STORE": "8GB"}
        answer = subprocess.run([server, "-c", f"{folder}/nats.conf", "-t"], capture_output=True, text=True, env=variables)
    return [f"nats.conf: {answer.stderr.strip()}"] * (answer.returncode != 0)


if __name__ == "__main__":
    main()
