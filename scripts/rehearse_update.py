#!/usr/bin/env python3
"""Rehearses a rolling update of the notifier on this machine: `make rehearse-update`.

Three notifiers behind the gateway of compose.yaml, as it is: only addresses differ, which it takes from the
environment, and the names that Compose's DNS would answer for are answered for here. 2,000 sessions follow every event
while events come through the gateway all the time: one half as plain clients, the other half as clients that know
`goaway`. Then each notifier is replaced by a new one, and the gateway is reloaded on the way. Printed is what was
lost, what came twice, and the highest rate at which sessions came back. Anything lost or doubled is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import struct
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import haproxy
import nats_server
import rehearse_compose
from ports import free_port

ROOT = Path(__file__).resolve().parent.parent
REPLICAS = 3
DRAIN_SECONDS = 10
# A client that was told to go comes again after a random moment of at most this.
JITTER = 1.0
PATIENCE = 120.0
UPGRADE = ("GET /ws/email/{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n")


class Failed(Exception):
    """What did not hold."""


class Tally:
    """What all sessions together have seen."""

    def __init__(self) -> None:
        self.lost = self.doubled = self.refused = 0
        self.back: list[float] = []

    def highest_rate(self) -> int:
        """The most sessions that came back within one second."""
        times, first, most = sorted(self.back), 0, 0
        for last, moment in enumerate(times):
            while times[first] <= moment - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most


class Session(asyncio.Protocol):
    """One client: follows, answers pings, and goes on from its cursor on another connection."""

    def __init__(self, tally: Tally, port: int, knows_goaway: bool) -> None:
        self.tally, self.port, self.knows_goaway = tally, port, knows_goaway
        self.cursor, self.last, self.connections = "", -1, 0
        self.transport: asyncio.Transport | None = None
        self.buffer, self.is_open, self.over = bytearray(), False, False

    async def connect(self) -> None:
        while not self.over:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
                return
            except OSError:
                await asyncio.sleep(random.uniform(0.1, JITTER))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.is_open = transport, False
        self.buffer.clear()
        query = f"?since={self.cursor}" if self.cursor else ""
        protocol = "Sec-WebSocket-Protocol: mandrill-live.v1\r\n" if self.knows_goaway else ""
        transport.write(UPGRADE.format(query=query, protocol=protocol).encode())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open and not self.opened():
            return
        while (one := self.next_frame()) is not None:
            opcode, payload = one
            if opcode == 1:
                self.take(payload)
            elif opcode == 9:  # Its answer is masked with zeros.
                self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
            if opcode == 8 or self.transport.is_closing():
                self.transport.close()
                return

    def opened(self) -> bool:
        """Whether the handshake's answer is there and good."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self.buffer.startswith(b"HTTP/1.1 101"):
            self.tally.refused += 1
            self.transport.close()
            return False
        del self.buffer[:end + 4]
        self.is_open = True
        if self.connections:
            self.tally.back.append(time.monotonic())
        self.connections += 1
        return True

    def next_frame(self) -> tuple[int, bytes] | None:
        data = self.buffer
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length == 126:
            if len(data) < 4:
                return None
            length, start = struct.unpack_from(">H", data, 2)[0], 4
        if len(data) < start + length:
            return None
        payload = bytes(data[start:start + length])
        opcode = data[0] & 0x0F
        del data[:start + length]
        return opcode, payload

    def take(self, payload: bytes) -> None:
        if payload.startswith(b'{"_control"'):
            if b'"goaway"' in payload[:30]:
                # Nothing more is read here: the next connection goes on from the last cursor.
                self.transport.close()
            return
        text = payload.decode()
        self.cursor = text.split('"_cursor":"', 1)[1].split('"', 1)[0]
        number = int(text.split('"_id":"e-', 1)[1].split('"', 1)[0])
        if number <= self.last:
            self.tally.doubled += 1
        else:
            self.tally.lost += number - self.last - 1
            self.last = number

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.over:
            asyncio.get_running_loop().create_task(self.again())

    async def again(self) -> None:
        await asyncio.sleep(random.uniform(0, JITTER))
        await self.connect()


class Names(asyncio.DatagramProtocol):
    """Answers for `notifier` and `ingest` as Compose's DNS does: with the addresses of all that run."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, query: bytes, client: tuple[str, int]) -> None:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1:at + 1 + length].decode())
            at += 1 + length
        question = query[12:at + 5]
        kind = struct.unpack_from(">H", query, at + 1)[0]
        found = self.addresses.get(".".join(labels), []) if kind == 1 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
        answers = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(one) for one in found)
        self.transport.sendto(head + question + answers, client)


class Stage:
    """The processes, and their end."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder, self.binaries = folder, binaries
        self.processes: list[asyncio.subprocess.Process] = []
        ports = [free_port() for _ in range(6)]
        self.broker, self.public, self.admin, self.gateway, self.gateway_admin, self.names = ports

    async def start(self, *command: object, **variables: str) -> asyncio.subprocess.Process:
        log = (self.folder / f"{Path(str(command[0])).name}.log").open("ab")
        environment = {"PATH": os.environ["PATH"], **variables}
        process = await asyncio.create_subprocess_exec(*map(str, command), env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    async def start_broker(self) -> None:
        configuration = self.folder / "nats.conf"
        configuration.write_text(f'listen: "127.0.0.1:{self.broker}"\nmax_payload: 8MB\n'
                                 f'jetstream {{ store_dir: "{self.folder}/data", sync_interval: always }}\n')
        await self.start(nats_server.find_or_install(), "-c", configuration)

    async def start_service(self, name: str, address: str, **variables: str) -> asyncio.subprocess.Process:
        """One that is ready."""
        process = await self.start(
            self.binaries / name, NATS_URL=f"nats://127.0.0.1:{self.broker}", HTTP_ADDR=f"{address}:{self.public}",
            ADMIN_ADDR=f"{address}:{self.admin}", DRAIN_SECONDS=str(DRAIN_SECONDS), RUST_LOG="warn", **variables)
        await until(f"{name} is ready", lambda: answers(f"http://{address}:{self.admin}/readyz"))
        return process

    async def start_notifier(self, address: str) -> asyncio.subprocess.Process:
        return await self.start_service("notifier", address, ALLOW_ANONYMOUS="true", MAX_SESSIONS_PER_IP="100000")

    async def start_gateway(self) -> asyncio.subprocess.Process:
        binary, variables = haproxy.find_or_install()
        return await self.start(
            binary, "-W", "-db", "-f", ROOT / "gateway/haproxy.cfg", GATEWAY_BIND=f"127.0.0.1:{self.gateway}",
            GATEWAY_ADMIN_BIND=f"127.0.0.1:{self.gateway_admin}", RESOLVER=f"127.0.0.1:{self.names}",
            NOTIFIER_ADDRESS=f"notifier:{self.public}", INGEST_ADDRESS=f"ingest:{self.public}",
            ADMIN_PORT=str(self.admin), **variables)

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def until(what: str, holds) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise Failed(f"not within {PATIENCE:.0f} s: {what}")
        await asyncio.sleep(0.05)


async def answers(url: str) -> bool:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False
    return await asyncio.to_thread(ask)


class Sender:
    """Posts batches through the gateway, one after the other and each until it is taken."""

    def __init__(self, port: int) -> None:
        self.port, self.sent, self.refused, self.over = port, 0, 0, False

    async def run(self) -> None:
        while not self.over:
            batch = [f'{{"_id":"e-{self.sent + at}","event":"open"}}' for at in range(2)]
            while (status := await asyncio.to_thread(rehearse_compose.post, self.port, f"[{','.join(batch)}]")) != 200:
                if status != 503:
                    raise Failed(f"a batch was answered {status}")
                self.refused += 1
                await asyncio.sleep(0.1)
            self.sent += len(batch)
            await asyncio.sleep(0.3)


async def rehearse(stage: Stage, count: int) -> None:
    names = Names()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: names, ("127.0.0.1", stage.names))
    await stage.start_broker()
    await stage.start_service("ingest", "127.0.2.1", MANDRILL_WEBHOOK_URLS=rehearse_compose.URL,
                              MANDRILL_WEBHOOK_KEYS=rehearse_compose.KEY)
    old = {f"127.0.1.{at}": await stage.start_notifier(f"127.0.1.{at}") for at in range(1, REPLICAS + 1)}
    names.addresses = {"ingest": ["127.0.2.1"], "notifier": list(old)}
    gateway = await stage.start_gateway()
    await until("the gateway answers", lambda: answers(f"http://127.0.0.1:{stage.gateway}/api/status"))

    tally = Tally()
    sessions = [Session(tally, stage.gateway, knows_goaway=at % 2 == 0) for at in range(count)]
    for group in range(0, count, 100):
        await asyncio.gather(*(one.connect() for one in sessions[group:group + 100]))
        await until("sessions are open", lambda: done(all(one.is_open for one in sessions[group:group + 100])))
    say(f"{count} sessions on {REPLICAS} notifiers behind the gateway")

    sender = Sender(stage.gateway)
    sending = asyncio.create_task(sender.run())
    began = time.monotonic()
    for at, (address, process) in enumerate(list(old.items())):
        new = f"127.0.1.{REPLICAS + at + 1}"
        await stage.start_notifier(new)
        names.addresses["notifier"].append(new)
        await asyncio.sleep(2)  # As long as an orchestrator takes until the next step.
        process.send_signal(signal.SIGTERM)
        if at == 1:
            gateway.send_signal(signal.SIGUSR2)
            say("the gateway is reloaded while sessions move")
        if await asyncio.wait_for(process.wait(), PATIENCE) != 0:
            raise Failed(f"a notifier ended with {process.returncode}")
        names.addresses["notifier"].remove(address)
        say(f"notifier {at + 1} of {REPLICAS} is replaced")
    sender.over = True
    await sending
    await until("every session has every event", lambda: done(all(one.last == sender.sent - 1 for one in sessions)))
    for one in sessions:
        one.over = True

    say(f"{sender.sent} events to each of {count} sessions in {time.monotonic() - began:.0f} s: "
        f"{tally.lost} lost, {tally.doubled} doubled")
    say(f"sessions came back {len(tally.back)} times, at most {tally.highest_rate()} within a second; "
        f"{tally.refused} handshakes and {sender.refused} batches were told to come again")
    if tally.lost or tally.doubled:
        raise Failed("events were lost or doubled")


async def done(value: bool) -> bool:
    return value


def say(text: str) -> None:
    print(f"rehearsal: {text}", flush=True)


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binaries", type=Path, default=ROOT / "target/release", help="where ingest and notifier are")
    arguments.add_argument("--sessions", type=int, default=2000)
    chosen = arguments.parse_args()
    for name in ("ingest", "notifier"):
        if not (chosen.binaries / name).exists():
            sys.exit(f"rehearsal: {chosen.binaries / name} is missing: `make rehearse-update` builds it")
    with tempfile.TemporaryDirectory(prefix="mandrill-live-update") as folder:
        stage = Stage(Path(folder), chosen.binaries)
        try:
            await rehearse(stage, chosen.sessions)
        except (Failed, haproxy.Unavailable, nats_server.Unavailable) as failed:
            for log in Path(folder).glob("*.log"):
                print(f"{log.name}:\n{log.read_text()[-1500:]}", file=sys.stderr)
            sys.exit(f"rehearsal: {failed}")
        finally:
            await stage.end()


if __name__ == "__main__":
    asyncio.run(main())
