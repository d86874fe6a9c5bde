#!/usr/bin/env python3
"""Rehearses compose.yaml with a Docker that is here: `make rehearse-compose`.

In a project and folder of its own it starts the broker, ingest, three notifiers and the gateway, posts signed
batches through the gateway (one of 2.5 MiB and one of 60 MiB among them), stops the notifiers and starts them
again, kills the broker and starts it again. Sessions follow through the gateway and go on from their cursor. At
the end every session must have every event that was answered 200, in order and once.

The images are those of compose.yaml, or what INGEST_IMAGE, NOTIFIER_IMAGE, NATS_IMAGE and GATEWAY_IMAGE name;
none is pulled or built here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "mandrill-live-rehearsal"
REPLICAS = 3
SESSIONS = 9
URL, KEY = "https://hooks.example.com/api/hook/", "ExampleKey_not-secret01"
PATIENCE = 120.0
MIB = 1 << 20


class Failed(Exception):
    """What did not hold."""


class Compose:
    """One project in a folder of its own, gone with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("compose.yaml", "gateway", "k8s/components/nats", "scripts/make_secrets.py"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
        subprocess.run([sys.executable, folder / "scripts/make_secrets.py"], check=True, capture_output=True)
        (folder / "secrets/mandrill_webhook_keys").write_text(KEY)
        self.port = free_port()
        variables = {"ALLOW_ANONYMOUS": "true", "JWT_SECRET_FILE": "", "MANDRILL_WEBHOOK_URLS": URL, "DRAIN_SECONDS": "10",
                     "GATEWAY_PORT": str(self.port), "NOFILE": os.environ.get("NOFILE", "20000")}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))

    def run(self, *arguments: str) -> str:
        answer = subprocess.run(["docker", "compose", "--project-name", PROJECT, *arguments], cwd=self.folder,
                                text=True, capture_output=True, timeout=300)
        if answer.returncode != 0:
            raise Failed(f"docker compose {' '.join(arguments)}: {answer.stderr.strip()[-2000:]}")
        return answer.stdout

    def admin_addresses(self) -> list[str]:
        """Where the notifiers' private listeners are, as this machine reaches them."""
        inspect = ["docker", "inspect", *self.run("ps", "--quiet", "notifier").split()]
        found = json.loads(subprocess.run(inspect, check=True, capture_output=True, text=True).stdout)
        return [one["NetworkSettings"]["Networks"][f"{PROJECT}_front"]["IPAddress"] for one in found]


class Session(threading.Thread):
    """Follows everything, and goes on from its cursor whenever its connection ends."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.cursor, self.connections = port, "", 0
        self.seen: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.follow()
            except (OSError, ValueError):
                pass
            time.sleep(0.1)

    def follow(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            since = f"?since={self.cursor}" if self.cursor else ""
            connection.sendall((f"GET /ws/email/{since} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").encode())
            stream = connection.makefile("rb", buffering=1 << 20)
            if b" 101 " not in stream.readline():
                return
            while stream.readline() not in (b"\r\n", b""):
                pass
            self.connections += 1
            while not self.over.is_set():
                opcode, payload = frame(stream)
                if opcode == 1:
                    self.take(payload)
                elif opcode == 8:
                    return
                elif opcode == 9:  # A ping; its answer is masked with zeros.
                    connection.sendall(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)

    def take(self, payload: bytes) -> None:
        # Events may be large: what matters stands in front, and in our own events right behind it.
        head = payload[:400].decode()
        self.cursor = head.split('"_cursor":"', 1)[1].split('"', 1)[0]
        self.seen.append(head.split('"_id":"', 1)[1].split('"', 1)[0])


def frame(stream) -> tuple[int, bytes]:
    first, length = read(stream, 2)
    if length == 126:
        (length,) = struct.unpack(">H", read(stream, 2))
    elif length == 127:
        (length,) = struct.unpack(">Q", read(stream, 8))
    return first & 0x0F, read(stream, length)


def read(stream, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("the connection ended")
    return data


def events(name: str, count: int, size: int) -> str:
    pad = "x" * max(0, size - 60)
    return json.dumps([{"_id": f"{name}-{at}", "event": "open", "pad": pad} for at in range(count)],
                      separators=(",", ":"))


def post(port: int, value: str) -> int:
    """A signed batch, once; the status of its answer, 503 where there was none."""
    body = "mandrill_events=" + urllib.parse.quote_plus(value)
    signature = base64.b64encode(hmac.new(KEY.encode(), f"{URL}mandrill_events{value}".encode(), hashlib.sha1).digest())
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Mandrill-Signature": signature.decode()}
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
        connection.request("POST", "/api/hook/", body, headers)
        return connection.getresponse().status
    except OSError:
        return 503
    finally:
        connection.close()


class Sender(threading.Thread):
    """Posts small batches one after the other, each until it is taken, as Mandrill does."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.taken, self.refused = port, [], 0
        self.failed: Failed | None = None
        self.over = threading.Event()

    def run(self) -> None:
        try:
            self.send()
        except Failed as failed:
            self.failed = failed

    def send(self) -> None:
        number = 0
        while not self.over.is_set():
            name = f"s{number}"
            while (status := post(self.port, events(name, 3, 100))) == 503:
                self.refused += 1
                time.sleep(0.2)
            if status != 200:
                raise Failed(f"a batch was answered {status}")
            self.taken += [f"{name}-{at}" for at in range(3)]
            number += 1
            time.sleep(0.02)


def until(what: str, holds, sender: Sender | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if sender and sender.failed:
            raise sender.failed
        if time.monotonic() > deadline:
            raise Failed(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.1)


def sessions_of(address: str) -> int:
    connection = http.client.HTTPConnection(address, 9090, timeout=5)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("mandrill_live_notifier_sessions{"))


def check(sessions: list[Session], expected: set[str]) -> None:
    until("every session has every event", lambda: all(len(set(one.seen)) >= len(expected) for one in sessions))
    for one in sessions:
        doubled = len(one.seen) - len(set(one.seen))
        lost = expected - set(one.seen)
        if doubled or lost or set(one.seen) - expected:
            raise Failed(f"a session has {doubled} doubled and lacks {len(lost)}, of {len(expected)}")
        if one.seen != sessions[0].seen:
            raise Failed("two sessions have another order")


def rehearse(compose: Compose) -> None:
    port = compose.port
    compose.run("up", "--detach", "--no-build", "--pull", "never", "--scale", f"notifier={REPLICAS}")
    until("the gateway answers", lambda: post(port, "[]") != 503)
    sessions = [Session(port) for _ in range(SESSIONS)]
    for one in sessions:
        one.start()
    until("every session is open", lambda: all(one.connections for one in sessions))
    spread = [sessions_of(address) for address in compose.admin_addresses()]
    say(f"{SESSIONS} sessions through the gateway, on {REPLICAS} replicas: {spread}")
    if min(spread) == 0:
        raise Failed("a replica has no session")

    expected: set[str] = set()
    for name, count, size in (("one", 1, 500), ("batch", 1000, 5 * MIB // 2000), ("large", 1000, 60 * MIB // 1000)):
        value = events(name, count, size)
        began = time.monotonic()
        status = post(port, value)
        say(f"{count} events, {len(value) / MIB:.1f} MiB, answered {status} after {time.monotonic() - began:.2f} s")
        if status != 200:
            raise Failed(f"a batch was answered {status}")
        expected |= {f"{name}-{at}" for at in range(count)}
    check(sessions, expected)
    say(f"every session has all {len(expected)} events")

    sender = Sender(port)
    sender.start()
    until("events flow", lambda: len(sender.taken) > 100, sender)
    began = time.monotonic()
    compose.run("stop", "notifier")
    say(f"docker compose stop notifier: {time.monotonic() - began:.1f} s; it is started again")
    compose.run("start", "notifier")
    until("all sessions are back", lambda: all(one.connections > 1 for one in sessions), sender)
    before, refused = len(sender.taken), sender.refused
    compose.run("kill", "nats")
    until("batches are refused", lambda: sender.refused > refused + 3, sender)
    compose.run("start", "nats")
    until("batches are taken again", lambda: len(sender.taken) > before + 300, sender)
    sender.over.set()
    sender.join(PATIENCE)
    if sender.failed:
        raise sender.failed
    check(sessions, expected | set(sender.taken))
    say(f"docker compose kill nats, and back: {sender.refused - refused} batches were told to come again; each of "
        f"{SESSIONS} sessions has all {len(expected) + len(sender.taken)} events that were acknowledged, once")
    for one in sessions:
        one.over.set()


def say(text: str) -> None:
    print(f"rehearsal: {text}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mandrill-live-compose") as folder:
        compose = Compose(Path(folder))
        try:
            rehearse(compose)
        except Failed as failed:
            print(compose.run("logs", "--tail", "15"), file=sys.stderr)
            sys.exit(f"rehearsal: {failed}")
        finally:
            compose.run("down", "--volumes", "--timeout", "1")
    say("done")


if __name__ == "__main__":
    main()
