#!/usr/bin/env python3
"""Makes the secrets of a deployment in ./secrets: a password for each user of the broker, a secret to sign readers'
tokens with, and an empty file for the webhook's keys. What is there already stays as it is.

Compose mounts the files (compose.yaml). For Kubernetes `make_secrets.py --kubernetes` prints the same as Secrets,
for `kubectl apply --namespace … --filename -`, or for the tool that keeps your secrets.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

USERS = ("ingest", "notifier", "setup", "erase", "rejected", "backup", "restore", "system")
# Included by k8s/components/nats/accounts.conf.
PASSWORDS = "passwords.conf"
# Between the servers of a cluster, included by k8s/components/nats/cluster.conf.
ROUTES = "routes.conf"
SERVERS = [f"nats-{at}.nats-headless" for at in range(3)]
KEYS = "mandrill_webhook_keys"
# What tokens of readers are signed with (JWT_SECRET).
TOKENS = "jwt_secret"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent.parent / "secrets")
    arguments.add_argument("--kubernetes", action="store_true", help="print them as Kubernetes Secrets")
    chosen = arguments.parse_args()
    make(chosen.folder)
    if chosen.kubernetes:
        json.dump(manifests(chosen.folder), sys.stdout, indent=2)
        print()


def make(folder: Path) -> None:
    # Containers read the files as another user; this folder keeps other users of the machine out.
    folder.mkdir(mode=0o700, exist_ok=True)
    for user in USERS:
        write(folder / user, secrets.token_hex(24))
    lines = [f'{user.upper()}_PASSWORD: "{(folder / user).read_text().strip()}"' for user in USERS]
    # Made of the files before: with a user more, so is this one.
    write(folder / PASSWORDS, "\n".join(lines) + "\n", again=True)
    write(folder / ROUTES, routes(secrets.token_hex(24)))
    write(folder / KEYS, "")
    write(folder / TOKENS, secrets.token_hex(32))


def routes(password: str) -> str:
    urls = ", ".join(f'"nats://routes:{password}@{server}:6222"' for server in SERVERS)
    return f'authorization {{ user: routes, password: "{password}", timeout: 5 }}\nroutes: [{urls}]\n'


def write(path: Path, text: str, again: bool = False) -> None:
    if path.exists() and (not again or path.read_text() == text):
        return
    path.write_text(text)
    path.chmod(0o644)
    print(f"secrets: made {path.name}", file=sys.stderr)


def manifests(folder: Path) -> dict[str, object]:
    """One Secret for each reader, so that none holds another's password."""
    read = lambda name: (folder / name).read_text()  # noqa: E731
    data = {f"nats-{user}": {"password": read(user)} for user in USERS if user != "system"}
    data["nats-server"] = {PASSWORDS: read(PASSWORDS), ROUTES: read(ROUTES)}
    data["mandrill-webhook"] = {"keys": read(KEYS)}
    data["mandrill-jwt"] = {"secret": read(TOKENS)}
    items = [secret(name, values) for name, values in data.items()]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def secret(name: str, values: dict[str, str]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "stringData": values}


if __name__ == "__main__":
    main()
