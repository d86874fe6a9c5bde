#!/usr/bin/env python3
"""`make run`: a broker and mandrill-live on this machine, until Ctrl-C.

Starts a nats-server with its data in the git-ignored .local/nats-data (unless NATS_URL names one that
runs already), builds and starts `mandrill-live up` with this environment, says where everything is,
and stops both in order. No process is left behind, whichever of the three ends first and however.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import ipaddress
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import nats_server
from processes import Child, StopSignals

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
BROKER_DATA = LOCAL / "nats-data"
BROKER_RUN = LOCAL / "nats-run"  # its configuration, and its port once it has one
BROKER_LOG = LOCAL / "nats.log"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "mandrill-live"

DEFAULT_ADDRESSES = {"HTTP_ADDR": "127.0.0.1:8000", "ADMIN_ADDR": "127.0.0.1:9090"}
BROKER_START_SECONDS = 60   # a stream of a few gigabytes is scanned first
BROKER_STOP_SECONDS = 30
READY_SECONDS = 120
# A person who presses Ctrl-C should not wait for the even closing of sessions that production needs.
DRAIN_SECONDS = "2"
DRAIN_MARGIN_SECONDS = 10

# `sync_interval: always` is what makes an acknowledged event one that is on disk; 8 MB lets a whole
# rejected request through.
BROKER_CONFIGURATION = """\
server_name: mandrill-live
listen: "127.0.0.1:-1"
ports_file_dir: {ports}
max_payload: 8MB
jetstream {{ store_dir: {data}, sync_interval: always }}
"""


class Refused(Exception):
    """Why nothing was started, or why it stopped: one line that says what to do."""


class Stopped(Exception):
    """A person asked for the end before everything was up."""


def main() -> int:
    os.chdir(ROOT)
    environment = dict(os.environ)
    signals = StopSignals()
    started: list[tuple[Child, float]] = []  # with the seconds each may take to stop
    try:
        claim_addresses(environment)
        notes = allow_local_use(environment)
        environment["DRAIN_SECONDS"] = environment.get("DRAIN_SECONDS") or DRAIN_SECONDS
        own_broker = not environment.get("NATS_URL")
        server = nats_server.find_or_install() if own_broker else None
        build(signals)
        if server:
            broker = start_broker(server)
            started.append((broker, BROKER_STOP_SECONDS))
            environment["NATS_URL"] = wait_for_broker(broker, signals)
        service = Child("mandrill-live", [str(BINARY), "up"], env=environment)
        started.append((service, seconds(environment["DRAIN_SECONDS"]) + DRAIN_MARGIN_SECONDS))
        wait_until_ready(service, environment["ADMIN_ADDR"], signals)
        greet(environment, notes, own_broker)
        return watch([child for child, _ in started], signals)
    except Stopped:
        return 0
    except (Refused, nats_server.Unavailable) as refused:
        if signals.received:
            return 0  # Ctrl-C reached what it was waiting for as well.
        say(f"make run: {refused}", sys.stderr)
        return 1
    finally:
        if started and signals.received:
            say("\nStopping; Ctrl-C again to hurry.")
        # The service before the broker, so that what it is still storing has somewhere to go.
        for child, limit in reversed(started):
            child.stop(signals, limit)


# Before anything is started ---------------------------------------------------------------------


def claim_addresses(environment: dict[str, str]) -> None:
    """Sets both addresses to ones that are free, or says which variable to change."""
    held = []
    for variable, default in DEFAULT_ADDRESSES.items():
        host, port = parse_address(variable, environment.get(variable) or default)
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        held.append(listener)  # until both are known to differ
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            raise Refused(why_not_free(variable, host, port, error)) from error
        environment[variable] = join_address(host, listener.getsockname()[1])
    for listener in held:
        listener.close()


def parse_address(variable: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]")))
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
    except ValueError:
        example = DEFAULT_ADDRESSES[variable]
        raise Refused(f"{variable}={text} is not an address and a port: write it like {variable}={example}") from None
    return address, number


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why_not_free(variable: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{variable}: {host} is no address of this machine; 127.0.0.1 is, for this machine only"
    reason = "taken" if error.errno == errno.EADDRINUSE else f"not to be had ({error.strerror})"
    example = f"{variable}={join_address(host, another_port(host, port))} make run"
    return f"port {port} is {reason}: set {variable} to another address, e.g. {example}"


def another_port(host: str, taken: int) -> int:
    """The next one that is free, among the ports that need no root."""
    first = max(taken + 1, 8000)
    for port in range(first, min(first + 100, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            if probe.connect_ex((reachable(host), port)) != 0:
                return port
    return first


def allow_local_use(environment: dict[str, str]) -> list[str]:
    """Opens up what is only reached from this machine; elsewhere a person has to say so."""
    def given(*names: str) -> bool:
        return any(environment.get(name) for name in names)

    open_hook = not given("MANDRILL_WEBHOOK_KEYS", "MANDRILL_WEBHOOK_KEYS_FILE", "ALLOW_UNSIGNED")
    open_page = not given("ALLOW_ANONYMOUS") and not any(
        value and name.startswith("JWT_") for name, value in environment.items())
    host, _ = parse_address("HTTP_ADDR", environment["HTTP_ADDR"])
    if not ipaddress.ip_address(host).is_loopback:
        missing = []
        if open_hook:
            missing.append("MANDRILL_WEBHOOK_KEYS (or ALLOW_UNSIGNED=false until Mandrill has given you a key)")
        if open_page:
            missing.append("ALLOW_ANONYMOUS=true (everybody who reaches it then sees every event)")
        if missing:
            raise Refused(f"other machines can reach HTTP_ADDR={environment['HTTP_ADDR']}: set {' and '.join(missing)}")
        return []
    notes = []
    if open_hook:
        environment["ALLOW_UNSIGNED"] = "true"
        notes.append("Unsigned batches are taken, from this machine only; set MANDRILL_WEBHOOK_KEYS to check signatures.")
    else:
        notes.append("`make demo` needs the same MANDRILL_WEBHOOK_* variables.")
    if open_page:
        environment["ALLOW_ANONYMOUS"] = "true"
        notes.append("Nobody has to sign in: everybody who can reach this address sees every event.")
    elif given("JWT_SECRET", "JWT_SECRET_FILE"):
        notes.append(f"Readers need a token: `{BINARY} token` makes one, with the same JWT_ variables.")
    return notes


def build(signals: StopSignals) -> None:
    if not shutil.which("cargo"):
        raise Refused("cargo is missing: install the Rust toolchain")
    cargo = Child("cargo", ["cargo", "build", "--release", "--locked", "--package", "mandrill-live"])
    while cargo.exit_code() is None:
        signals.wait(60)
        if signals.received:
            cargo.stop(signals, 5)
            raise Stopped
    if cargo.exit_code() != 0:
        raise Refused("the build failed; cargo's message is above")


# The broker -------------------------------------------------------------------------------------


def start_broker(server: str) -> Child:
    BROKER_DATA.mkdir(parents=True, exist_ok=True)
    # The broker itself does not notice a second one on the same files. It inherits the lock, so that
    # the data stay locked as long as it lives, whatever becomes of this process.
    lock = open(LOCAL / "nats-data.lock", "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("another `make run` uses .local/nats-data: stop it, or set NATS_URL to share its broker") from None
    shutil.rmtree(BROKER_RUN, ignore_errors=True)
    BROKER_RUN.mkdir()
    configuration = BROKER_RUN / "nats.conf"
    configuration.write_text(BROKER_CONFIGURATION.format(
        ports=json.dumps(str(BROKER_RUN)), data=json.dumps(str(BROKER_DATA))), encoding="utf-8")
    with open(BROKER_LOG, "w", encoding="utf-8") as log:
        return Child("nats-server", [server, "--config", str(configuration)],
                     stdout=log, stderr=log, pass_fds=[lock.fileno()])


def wait_for_broker(broker: Child, signals: StopSignals) -> str:
    def address() -> str | None:
        for ports in BROKER_RUN.glob(f"*_{broker.pid}.ports"):
            try:
                return json.loads(ports.read_text(encoding="utf-8"))["nats"][0]
            except ValueError:
                pass  # It is written while we look.
        return None

    return wait_for(address, broker, BROKER_START_SECONDS, signals)


# mandrill-live ----------------------------------------------------------------------------------


def wait_until_ready(service: Child, admin_address: str, signals: StopSignals) -> None:
    host, port = parse_address("ADMIN_ADDR", admin_address)

    def ready() -> bool:
        connection = http.client.HTTPConnection(reachable(host), port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    wait_for(ready, service, READY_SECONDS, signals)


def wait_for(check, child: Child, limit: float, signals: StopSignals):
    """The check's first answer that is true, while the child lives and nobody wants to stop."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if signals.received:
            raise Stopped
        if child.exit_code() is not None:
            raise Refused(how_it_ended(child))
        answer = check()
        if answer:
            return answer
        signals.wait(0.1)
    raise Refused(f"{child.name} was not ready within {limit:.0f} seconds; its messages are {where(child)}")


def watch(children: list[Child], signals: StopSignals) -> int:
    while not signals.received:
        for child in children:
            code = child.exit_code()
            if code is not None:
                say(f"make run: {how_it_ended(child)}", sys.stderr)
                return code or 1
        signals.wait(60)
    return 0


def how_it_ended(child: Child) -> str:
    return f"{child.name} ended by itself (exit code {child.exit_code()}); its messages are {where(child)}"


def where(child: Child) -> str:
    return "in .local/nats.log" if child.name == "nats-server" else "above"


def greet(environment: dict[str, str], notes: list[str], own_broker: bool) -> None:
    host, port = parse_address("HTTP_ADDR", environment["HTTP_ADDR"])
    address = join_address(reachable(host), port)
    demo = "make demo" if address == DEFAULT_ADDRESSES["HTTP_ADDR"] else f"HTTP_ADDR={address} make demo"
    broker = f"{environment['NATS_URL']} (data in .local/nats-data)" if own_broker else "the one in NATS_URL"
    say("\n".join([
        "",
        f"  Page     http://{address}/",
        f"  Webhook  http://{address}/api/hook/",
        f"  Broker   {broker}",
        f"  Try it   {demo}   (in another terminal: sends sample events)",
        "",
        *(f"  {note}" for note in notes),
        "  Ctrl-C stops everything; stored events are kept.",
        "",
    ]))


def reachable(host: str) -> str:
    """An address to connect to: a listener on every address is reached on loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 3600  # Written with a unit: `up` keeps to it by itself, and an hour is the most it takes.


def say(text: str, stream=None) -> None:
    print(text, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
