#!/usr/bin/env python3
"""Holds the documents to their standards and the running services to shared/openapi.yaml: the documents' own
examples first, then what does not end by `endless`, and every endpoint that ends by schemathesis, once without a
token and once with one. Whatever is right is taken, and each endpoint has to do what it is for at least once: a token
or a signature that is refused everywhere is no pass.
`scripts/contract.sh` runs it.

Each case is made from a seed, so that a failure comes again. SEED=2 asks for others, EXAMPLES=100 for more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import jsonschema_rs
import yaml

import endless
from service import ROOT, REGISTERED_URL, TOKEN_SECRET, WEBHOOK_KEY, Service, token
from processes import StopSignals

HERE = Path(__file__).resolve().parent
CONTRACT = ROOT / "shared" / "openapi.yaml"
SOCKET = ROOT / "shared" / "asyncapi.yaml"
# What AsyncAPI 3 is, by its authors: one of the browser tests' packages.
ASYNCAPI = ROOT / "cli/tests/browser/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
FIXTURES = ROOT / "shared" / "fixtures"
SEED = os.environ.get("SEED", "1")
EXAMPLES = os.environ.get("EXAMPLES", "5")  # generated inputs of an endpoint, beside those made from bounds
LARGE_TEXT_CHARACTERS = 300_000  # more than LARGE_EVENT_BYTES

# Without a token: everything is open, and unsigned batches are taken.
OPEN = {"ALLOW_ANONYMOUS": "true", "ALLOW_UNSIGNED": "true"}
# With one: batches are signed as Mandrill signs them.
CLOSED = {"JWT_SECRET": TOKEN_SECRET, "MANDRILL_WEBHOOK_URLS": REGISTERED_URL, "MANDRILL_WEBHOOK_KEYS": WEBHOOK_KEY}


def main() -> int:
    contract = yaml.safe_load(CONTRACT.read_text())
    say("the documents are what they say, and their examples fit")
    socket = yaml.safe_load(SOCKET.read_text())
    standard = jsonschema_rs.validator_for(json.loads(ASYNCAPI.read_text()))
    wrong = [f"{SOCKET.name}: {error}" for error in standard.iter_errors(socket)]
    wrong += [f"{CONTRACT.name}{place}: {error}" for place, error in misfits(contract)]
    wrong += [f"{SOCKET.name}{place}: {error}" for place, error in message_misfits(socket)]
    if wrong:
        print("\n".join(wrong))
        return 1
    signals = StopSignals()
    for name, variables, environment in [
        ("without a token", OPEN, {}),
        ("with a token", CLOSED, {"SIGNED": "yes", "TOKEN": token(scope="events:read events:erase")}),
    ]:
        say(f"every endpoint that ends, {name}")
        with Service(signals, variables) as service, tempfile.TemporaryDirectory() as folder:
            configuration, taken = Path(folder) / "schemathesis.toml", Path(folder) / "taken"
            taken.touch()
            configuration.write_text(toml(contract, known(service, environment), bool(environment)))
            command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration),
                       "run", str(CONTRACT), "--url", service.origin]
            modules = os.pathsep.join([str(HERE), str(ROOT / "scripts")])
            variables = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": modules, "TAKEN": str(taken)}
            try:
                endless.check(service, contract, socket, environment.get("TOKEN"))
            except endless.Misfit as misfit:
                print(f"exports, streams and the socket: {misfit}")
                return 1
            print("exports, streams and the socket: as the documents have them", flush=True)
            code = subprocess.run(command, cwd=folder, env={**os.environ, **variables, **environment}).returncode
            refused = sorted(granting(contract) - set(taken.read_text().splitlines()))
            with urllib.request.urlopen(f"{service.origin}/schema/openapi.json") as answer:
                served = json.load(answer)
        if refused:
            print(f"{name}, no request was answered 2xx: {', '.join(refused)}")
        if code or refused:
            return code or 1
        if served != contract:
            print(f"{service.origin}/schema/ is not {CONTRACT.name}: build the program again")
            return 1
    return 0


def say(what: str) -> None:
    print(f"\n-- {what}", flush=True)


# The document's own examples ---------------------------------------------------------------------


def misfits(contract: dict):
    """Each example of a body, a parameter or a schema that its schema does not take."""
    for place, holder in holders(contract, "#"):
        schema = holder.get("schema", holder)
        examples = [holder["example"]] if "example" in holder else holder.get("examples", [])
        examples = examples if isinstance(examples, list) else []
        validator = jsonschema_rs.validator_for({**schema, "components": contract["components"]})
        for example in examples:
            for error in validator.iter_errors(example):
                yield place, error.message


def message_misfits(socket: dict):
    """Each example of a message that its payload's schema does not take."""
    for name, message in socket["components"]["messages"].items():
        validator = jsonschema_rs.validator_for({**message["payload"], "components": socket["components"]})
        for example in message["examples"]:
            for error in validator.iter_errors(example["payload"]):
                yield f"#/components/messages/{name}", error.message


def holders(value: object, place: str):
    if isinstance(value, dict):
        if "example" in value and "schema" in value or isinstance(value.get("examples"), list):
            yield place, value
        for name, member in value.items():
            if name not in ("example", "examples"):
                yield from holders(member, f"{place}/{name}")
    elif isinstance(value, list):
        for place_in_list, element in enumerate(value):
            yield from holders(element, f"{place}/{place_in_list}")


def granting(contract: dict) -> set[str]:
    """`GET /api/me`: each operation that may be answered 2xx, and whose answer ends; as hooks.py writes them down."""
    return {f"{method.upper()} {path}" for path, operations in contract["paths"].items()
            for method, operation in operations.items()
            if isinstance(operation, dict) and not operation.get("x-endless")
            and any(status.startswith("2") for status in operation["responses"])}


# What schemathesis is told -----------------------------------------------------------------------


def known(service: Service, environment: dict) -> dict[str, list[str]]:
    """Events of every shape, and what of them a request may name."""
    service.post((FIXTURES / "batch-mixed.json").read_text())
    large = {"event": "inbound", "msg": {"email": "inbox@example.com", "raw_msg": "x" * LARGE_TEXT_CHARACTERS}}
    service.post(json.dumps([large]))
    request = urllib.request.Request(f"{service.origin}/api/events/?limit=1000")
    if environment:
        request.add_header("Authorization", f"Bearer {environment['TOKEN']}")
    with urllib.request.urlopen(request) as answer:
        events = json.load(answer)["events"]
    return {
        "cursors": [event["_cursor"] for event in events],
        "messages": sorted({event["_id"] for event in events if isinstance(event.get("_id"), str)}),
        "objects": [event["_large"]["object"] for event in events if "_large" in event],
    }


def toml(contract: dict, names: dict[str, list[str]], with_token: bool) -> str:
    """The configuration, in TOML: what a case may be answered with where the document cannot say so."""
    endless = [path for path, operations in contract["paths"].items()
               if any(operation.get("x-endless") for operation in operations.values() if isinstance(operation, dict))]
    lines = [
        f"seed = {SEED}",
        "generation.max-examples = " + EXAMPLES,
        "phases.stateful.enabled = false",  # random filters find no events to follow links from
        "request-timeout = 30",
        "continue-on-failure = true",
        "warnings = false",
        # A cursor of another stream is answered 410; many long parameters together 431.
        'checks.positive_data_acceptance.expected-statuses = ["2xx", "3xx", 404, 410, 431]',
        'checks.negative_data_rejection.expected-statuses = ["4xx"]',
        "checks.missing_required_header.enabled = false",
    ]
    if with_token:
        lines.append('headers = { Authorization = "Bearer ${TOKEN}" }')
    for name, values in names.items():
        lines.append(f"dictionaries.{name}.values = {json.dumps(values)}")
    bindings = {"query.before": "cursors", "query.since": "cursors"} if names else {}
    for parameter, dictionary in bindings.items():
        lines.append(f'parameters."{parameter}" = {{ dictionary = "{dictionary}", probability = 0.7 }}')
    lines += ["", "[[operations]]", f"include-path = {json.dumps(endless)}", "enabled = false"]
    if with_token:
        # A right signature makes any content 200: that is what the webhook is for.
        lines += ["", "[[operations]]", 'include-tag = "Webhook"', 'generation.mode = "positive"']
    for path, dictionary in {"/api/messages/{id}": "messages", "/api/large/{id}": "objects"}.items():
        if names:
            lines += ["", "[[operations]]", f'include-path = "{path}"',
                      f'parameters."path.id" = {{ dictionary = "{dictionary}", probability = 0.5 }}']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
