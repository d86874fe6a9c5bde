"""Holds what generated requests cannot try to the documents: exports, Server-Sent Events and the socket.

Heads and refusals have to fit shared/openapi.yaml, and each frame the message of shared/asyncapi.yaml that it says
it is. `run.py` calls it, once a service, with events stored that every filter below finds some of.
"""

from __future__ import annotations

import base64
import csv
import http.client
import io
import json
import os
import socket as sockets
import struct
import time
import urllib.parse
from dataclasses import dataclass

import jsonschema_rs

from service import Service, token

EXPORT, STREAM, SOCKET = "/api/events/export", "/api/events/stream", "/ws/email/"
PROTOCOL = "mandrill-live.v1"
# The form of a cursor, of a stream there never was.
FOREIGN_CURSOR = base64.urlsafe_b64encode(b"\xb1VyxT61g" + struct.pack(">QQ", 1, 1_760_000_000_000)).decode()
PATIENCE_SECONDS = 30
LAST = 5  # events that a session begins with
TEXT, CLOSE, PING = 1, 8, 9


class Misfit(Exception):
    """What was answered, and what the documents say of it."""


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def media(self) -> str:
        return self.headers.get_content_type()


def check(service: Service, contract: dict, socket: dict, bearer: str | None) -> None:
    """Raises `Misfit` at the first answer that is not as the documents have it. `bearer` is a token that may read."""
    documents, client = Documents(contract, socket), Client(service, bearer)
    exports(documents, client)
    stream(documents, client)
    live_socket(documents, client, bearer)
    for path in (EXPORT, STREAM, SOCKET):
        refusals(documents, client, path, bearer)


# What the documents say --------------------------------------------------------------------------


class Documents:
    def __init__(self, contract: dict, socket: dict) -> None:
        self._contract, self._socket = contract, socket

    def fits(self, schema: dict | str, value: object) -> None:
        """`value` is what a schema of openapi.yaml, or one of its components by name, describes."""
        schema = {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema
        self._valid({**schema, "components": self._contract["components"]}, value)

    def is_message(self, frame: dict) -> str:
        """`frame` is a message that asyncapi.yaml lets the service send; its name."""
        name = frame.get("_control", "event")
        sent = [reference["$ref"].rsplit("/", 1)[1] for operation in self._socket["operations"].values()
                if operation["action"] == "send" for reference in operation["messages"]]
        expect(name in sent, f"asyncapi.yaml has no message {name} that is sent: {frame}")
        payload = self._socket["components"]["messages"][name]["payload"]
        self._valid({**payload, "components": self._socket["components"]}, frame)
        return name

    def describes(self, path: str, answer: Answer) -> None:
        """The status is one of the path's, and its media type, headers and body are as they stand there."""
        responses = self._contract["paths"][path]["get"]["responses"]
        expect(str(answer.status) in responses, f"{path} is answered {answer.status}, which openapi.yaml does not have")
        response = self._resolved(responses[str(answer.status)])
        for name in response.get("headers", {}):
            expect(name in answer.headers, f"{path}, {answer.status}: the header {name} is missing")
        content = response.get("content", {})
        expect(not content or answer.media in content, f"{path}, {answer.status}: {answer.media} instead of {list(content)}")
        if answer.media in ("application/json", "application/problem+json"):
            self.fits(content[answer.media]["schema"], json.loads(answer.body))

    def _resolved(self, response: dict) -> dict:
        if "$ref" in response:
            return self._contract["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        return response

    @staticmethod
    def _valid(schema: dict, value: object) -> None:
        for error in jsonschema_rs.validator_for(schema).iter_errors(value):
            raise Misfit(f"{error.message} at {list(error.instance_path)} of {value}")


def expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise Misfit(otherwise)


# What the service answers ------------------------------------------------------------------------


class Client:
    def __init__(self, service: Service, bearer: str | None) -> None:
        self.host = urllib.parse.urlsplit(service.origin).netloc
        self._headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}

    def open(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """An answer's head; the body is still to come. `headers` stand before what every request has."""
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE_SECONDS)
        connection.request(method, target, headers={**self._headers, **(headers or {})})
        return connection.getresponse()

    def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        response = self.open(target, method, headers)
        return Answer(response.status, response.headers, response.read())


def exports(documents: Documents, client: Client) -> None:
    answer = client.ask(f"{EXPORT}?format=ndjson")
    documents.describes(EXPORT, answer)
    *events, end = [json.loads(line) for line in answer.body.splitlines()]
    for event in events:
        documents.fits("Event", event)
    documents.fits("ExportEnd", end)
    expect(end["_export"] == "complete" and end["events"] == len(events) > 1, f"the end {end} of {len(events)} events")

    rest = client.ask(f"{EXPORT}?since={events[0]['_cursor']}").body.splitlines()
    expect([json.loads(line) for line in rest[:-1]] == events[1:], "an export goes on after the cursor it is given")
    nothing = json.loads(client.ask(f"{EXPORT}?since={end['at']}").body)
    documents.fits("ExportEnd", nothing)
    expect(nothing["events"] == 0, f"after the last line's cursor there is {nothing}")

    for query, headers in [("?format=csv", {}), ("", {"Accept": "text/csv"})]:
        answer = client.ask(EXPORT + query, headers=headers)
        documents.describes(EXPORT, answer)
        expect(answer.media == "text/csv", f"{query} {headers} brings {answer.media}")
        head, *records, last = csv.reader(io.StringIO(answer.body.decode()), strict=True)
        expect(all(len(record) == len(head) for record in [*records, last]), "every record has the header's fields")
        expect(len(records) == len(events), f"{len(records)} records of {len(events)} events")
        end = dict(zip(head, last))
        expect((end["Date"], end["Event"]) == ("#complete", str(len(events))), f"the last record is {last}")


def stream(documents: Documents, client: Client) -> None:
    response = client.open(f"{STREAM}?last={LAST}")
    documents.describes(STREAM, Answer(response.status, response.headers, b""))
    seen, told = [], []
    for entry in entries(response):
        frame = json.loads(entry["data"])
        name = documents.is_message(frame)
        expect((entry.get("event") == "control") == (name != "event"), f"control frames are `event: control`: {entry}")
        if name == "event":
            documents.fits("Event", frame)
            expect(entry["id"] == frame["_cursor"], f"the id is the cursor: {entry}")
            seen.append(frame)
        told.append(name)
        if len(seen) == LAST:
            break
    response.close()
    expect(told[0] == "hello", f"the first entry is {told[0]}")
    again = client.open(STREAM, headers={"Last-Event-ID": seen[0]["_cursor"]})
    resumed = (json.loads(entry["data"]) for entry in entries(again) if entry.get("event") != "control")
    expect([next(resumed) for _ in seen[1:]] == seen[1:], "Last-Event-ID goes on after the event it names")
    again.close()


def entries(response: http.client.HTTPResponse):
    """Server-Sent Events as their standard reads them, without comments."""
    entry: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS  # comments keep the connection's own from passing
    while (line := response.readline().decode()) and time.monotonic() < deadline:
        name, _, value = line.rstrip("\n").partition(":")
        if line == "\n" and entry:
            yield entry
            entry = {}
        elif name:
            entry[name] = value.removeprefix(" ")
    raise Misfit(f"the event stream ends by itself, or brings no more within {PATIENCE_SECONDS} s")


def live_socket(documents: Documents, client: Client, bearer: str | None) -> None:
    protocols = [PROTOCOL, f"bearer.{bearer}"] if bearer else [PROTOCOL]
    with Socket(client.host, f"{SOCKET}?last={LAST}", protocols) as live:
        expect(live.protocol == PROTOCOL, f"the answer names the protocol {live.protocol}")
        told = [documents.is_message(live.receive()) for _ in range(1 + LAST)]
        expect(told == ["hello"] + ["event"] * LAST, f"a session begins with {told}")
        asked = [({"_control": "filter", "event": ["open", "click"]}, "filter"), ({"_control": "filter", "evnt": "x"}, "error")]
        if bearer:
            asked += [({"_control": "token", "token": bearer}, "token"), ({"_control": "token", "token": "x.y.z"}, "error")]
        for frame, answer in asked:
            live.send(frame)
            while (name := documents.is_message(live.receive())) in ("status", "position"):
                pass
            expect(name == answer, f"{frame} is answered {name}")


class Socket:
    """A WebSocket client, as small as one can be."""

    def __init__(self, host: str, target: str, protocols: list[str]) -> None:
        name, port = host.split(":")
        self._connection = sockets.create_connection((name, int(port)), timeout=PATIENCE_SECONDS)
        self._connection.sendall((
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Sec-WebSocket-Protocol: {', '.join(protocols)}\r\n\r\n").encode())
        self._reader = self._connection.makefile("rb")
        status = self._reader.readline()
        expect(b" 101 " in status, f"{target} is answered {status!r}")
        self.protocol = http.client.parse_headers(self._reader)["Sec-WebSocket-Protocol"]

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def receive(self) -> dict:
        """The next text frame."""
        while True:
            first, size = self._reader.read(2)
            if size == 126:
                size, = struct.unpack(">H", self._reader.read(2))
            elif size == 127:
                size, = struct.unpack(">Q", self._reader.read(8))
            payload = self._reader.read(size)
            expect(first & 15 != CLOSE, f"the socket is closed: {payload!r}")
            if first & 15 == TEXT:
                return json.loads(payload)

    def send(self, frame: dict) -> None:
        payload = json.dumps(frame).encode()
        mask = os.urandom(4)
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self._connection.sendall(bytes([0x80 | TEXT]) + size + mask + masked)


def refusals(documents: Documents, client: Client, path: str, bearer: str | None) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()} if path == SOCKET else {}
    cases = [("?evnt=open", 400, {}), ("?since=x", 400, {}), ("?event=a&" * 300, 400, {}), ("", 421, {"Host": "elsewhere.example.com"})]
    if path != SOCKET:
        cases.append(("", 406, {"Accept": "image/png"}))
    if path == EXPORT:
        cases += [("?format=xml", 400, {}), (f"?since={FOREIGN_CURSOR}", 410, {})]
    if bearer:
        cases += [("", 401, {"Authorization": "Bearer x.y.z"}), ("", 401, {"Authorization": ""}),
                  ("", 403, {"Authorization": f"Bearer {token(scope='other')}"})]
    for query, status, headers in cases:
        response = client.open(path + query, headers={**upgrade, **headers})
        expect(response.status == status, f"{path}{query[:40]} {headers} is answered {response.status}, not {status}")
        documents.describes(path, Answer(response.status, response.headers, response.read()))
    answer = client.ask(path, "DELETE", upgrade)
    expect(answer.status == 405, f"DELETE {path} is answered {answer.status}")
    documents.describes(path, answer)
