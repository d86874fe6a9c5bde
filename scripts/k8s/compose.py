"""What compose.yaml and the gateway's configuration must hold. Pure: texts in, findings out, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy import SLACK_SECONDS, span

# The defaults of the variables that the gateway's time-outs have to fit; .env.example has them.
DEFAULTS = ("SESSION_MAX_AGE", "DRAIN_SECONDS", "COMMIT_TIMEOUT")


def findings(compose: dict, gateway: str, broker: str, example: str) -> list[str]:
    """Everything that does not hold. `compose` is the file as YAML reads it, `example` is .env.example."""
    defaults = {name: span(re.search(rf"(?m)^#{name}=(\S+)$", example)[1]) for name in DEFAULTS}
    return [*services(compose, defaults), *times(gateway, defaults), *durable(broker), *exposed(compose)]


def services(compose: dict, defaults: dict[str, int]) -> Iterator[str]:
    for name, service in compose["services"].items():
        image = default(service["image"])
        if image.rpartition(":")[2] in ("", "latest") or ":" not in image:
            yield f"{name}: image {image} has no fixed tag"
        if service.get("read_only") is not True:
            yield f"{name}: read_only must be true"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add") or service.get("privileged"):
            yield f"{name}: must drop all capabilities and add none"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name}: must not gain privileges"
        if not service.get("logging", {}).get("options", {}).get("max-size"):
            yield f"{name}: its log has no bound"
        # The services' images bring their own.
        if name in ("nats", "gateway") and "test" not in service.get("healthcheck", {}):
            yield f"{name}: has no health check"
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"(PASSWORD|SECRET|KEYS)$", variable) and value:
                yield f"{name}: {variable} holds a secret: mount a file and name it with {variable}_FILE"
    for name in ("nats", "ingest", "notifier"):
        if "mem_limit" not in compose["services"][name]:
            yield f"{name}: has no memory limit"
    for name in ("ingest", "notifier"):
        grace, needed = span(default(compose["services"][name]["stop_grace_period"])), defaults["DRAIN_SECONDS"] + SLACK_SECONDS
        if grace < needed:
            yield f"{name}: stop_grace_period is less than DRAIN_SECONDS and {SLACK_SECONDS}: {needed} s"


def exposed(compose: dict) -> Iterator[str]:
    for name, service in compose["services"].items():
        if name != "gateway" and service.get("ports"):
            yield f"{name}: only the gateway has a port on the machine"
    if compose["networks"]["back"].get("internal") is not True:
        yield "networks: the broker's must be internal"


def times(gateway: str, defaults: dict[str, int]) -> Iterator[str]:
    # Sessions are asked to move after their age and up to 20 % more.
    age = defaults["SESSION_MAX_AGE"] * 6 // 5
    for words in ("timeout tunnel", "hard-stop-after"):
        if setting(gateway, words) < age:
            yield f"gateway: {words} is less than a session's age: {age} s"
    for words in ("timeout client", "timeout server"):
        if setting(gateway, words) < defaults["COMMIT_TIMEOUT"] + SLACK_SECONDS:
            yield f"gateway: {words} is less than COMMIT_TIMEOUT and {SLACK_SECONDS}"


def setting(gateway: str, words: str) -> int:
    found = re.search(rf"(?m)^\s*{words}\s+(\S+)$", gateway)
    return span(found[1]) if found else 0


def durable(broker: str) -> Iterator[str]:
    if not re.search(r"(?m)^\s*sync_interval: always$", broker):
        yield "nats.conf: sync_interval must be always, or an acknowledged event is not on disk"
    if not re.search(r"(?m)^max_payload: 8MB$", broker):
        yield "nats.conf: max_payload must be 8MB"


def default(text: str) -> str:
    """What Compose makes of `${NAME:-default}` where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(text))
