"""A real broker and a real `mandrill-live up` on free ports, with events in them; gone when stopped."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import nats_server  # noqa: E402
from ports import free_port  # noqa: E402
from processes import Child, StopSignals  # noqa: E402

PROGRAM = os.environ.get("MANDRILL_LIVE") or str(
    Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "mandrill-live")
START_SECONDS = 60
STOP_SECONDS = 20

# Never the address that requests go to: what is signed is what was typed into Mandrill.
REGISTERED_URL = "https://hooks.example.com/mandrill/in?from=contract"
WEBHOOK_KEY = "ExampleKey_contract-test"
TOKEN_SECRET = "only-the-contract-test-signs-its-tokens-with-this"

BROKER_CONFIGURATION = """\
listen: "127.0.0.1:-1"
ports_file_dir: {folder}
max_payload: 8MB
jetstream {{ store_dir: {folder}, sync_interval: always }}
"""


class Service:
    """Both services on one origin, configured by `variables`."""

    def __init__(self, signals: StopSignals, variables: dict[str, str]) -> None:
        self._signals = signals
        self._folder = Path(tempfile.mkdtemp(prefix="mandrill-live-contract-"))
        self._children: list[Child] = []
        http, admin = free_port(), free_port()
        self.origin = f"http://127.0.0.1:{http}"
        self._ready = f"http://127.0.0.1:{admin}/readyz"
        self._variables = {"HTTP_ADDR": f"127.0.0.1:{http}", "ADMIN_ADDR": f"127.0.0.1:{admin}", **variables}

    def __enter__(self) -> Service:
        try:
            configuration = self._folder / "nats.conf"
            configuration.write_text(BROKER_CONFIGURATION.format(folder=json.dumps(str(self._folder))))
            broker = self._start("nats-server", [nats_server.find_or_install(), "--config", str(configuration)], {})
            url = self._until(broker, lambda: broker_url(self._folder, broker.pid))
            service = self._start("mandrill-live", [PROGRAM, "up"], {"NATS_URL": url, **self._variables})
            self._until(service, lambda: is_ready(self._ready))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The service before the broker, so that what it is still storing has somewhere to go.
        for child in reversed(self._children):
            child.stop(self._signals, STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str, command: list[str], variables: dict[str, str]) -> Child:
        # Nothing of what a developer has set for `make run` may reach the service under test.
        environment = {"PATH": os.environ.get("PATH", ""), "DRAIN_SECONDS": "1", **variables}
        with self._log(name).open("wb") as log:
            child = Child(name, command, env=environment, stdout=log, stderr=log)
        self._children.append(child)
        return child

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _until(self, child: Child, check):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and child.exit_code() is None:
            answer = check()
            if answer:
                return answer
            self._signals.wait(0.05)
        sys.exit(f"{child.name} did not start. It said:\n{self._log(child.name).read_text(errors='replace')}")

    def post(self, batch: str) -> dict:
        """Posts the text of a JSON array as Mandrill does; signed where the service has keys."""
        body = urllib.parse.urlencode({"mandrill_events": batch}).encode()
        request = urllib.request.Request(f"{self.origin}/api/hook/", body)
        request.add_header("X-Mandrill-Signature", signature([("mandrill_events", batch)]))
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def signature(fields: list[tuple[str, str]]) -> str:
    """Mandrill's, over the registered address and the form's decoded fields."""
    text = REGISTERED_URL + "".join(name + value for name, value in sorted(fields))
    signed = hmac.new(WEBHOOK_KEY.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1)
    return base64.b64encode(signed.digest()).decode()


def token(**claims: object) -> str:
    """A JWT (HS256) that holds for an hour."""
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    claims = {"sub": "contract", "exp": int(time.time()) + 3600, "scope": "events:read", **claims}
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    digest = hmac.new(TOKEN_SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def broker_url(folder: Path, pid: int) -> str | None:
    try:
        (ports,) = folder.glob(f"*_{pid}.ports")
        return json.loads(ports.read_text())["nats"][0]
    except (ValueError, OSError):
        return None  # Not there yet, or being written.


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
