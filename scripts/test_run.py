"""What `make run` promises about processes, with a real broker and a stand-in for the built service.

`python3 scripts/test_run.py`. Each test works in a folder of its own: a `make run` that goes
on beside it is neither disturbed nor in the way.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import nats_server

SCRIPTS = Path(__file__).resolve().parent

# Ready at once; when it is told to stop, says whether the broker is still there.
SERVICE = f"""#!{sys.executable}
import os, signal, socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

def stop(*_):
    broker = socket.socket()
    state = broker.connect_ex(("127.0.0.1", int(os.environ["NATS_URL"].rsplit(":", 1)[1])))
    print("service stopped", "before" if state == 0 else "after", "the broker", flush=True)
    if not os.environ.get("STUCK"):
        os._exit(0)

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

if os.environ.get("BROKEN"):
    sys.exit(64)
signal.signal(signal.SIGTERM, stop)
host, port = os.environ["ADMIN_ADDR"].rsplit(":", 1)
print("unsigned", os.environ.get("ALLOW_UNSIGNED"), "anonymous", os.environ.get("ALLOW_ANONYMOUS"), flush=True)
HTTPServer((host, int(port)), Ready).serve_forever()
"""


class Run(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="mandrill-live-test-")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "scripts").mkdir()
        for script in SCRIPTS.glob("*.py"):
            shutil.copy(script, self.root / "scripts")
        self.program("bin/cargo", "#!/bin/sh\nexit ${CARGO_FAILS:-0}\n")
        self.program("target/release/mandrill-live", SERVICE)
        ours = ("ALLOW_", "JWT_", "MANDRILL_", "NATS_", "DRAIN_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.root / "target"),
            "NATS_SERVER": nats_server.find_or_install(),
            "HTTP_ADDR": "127.0.0.1:0",
            "ADMIN_ADDR": "127.0.0.1:0",
        }

    def program(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen:
        run = subprocess.Popen(
            [sys.executable, str(self.root / "scripts" / "run.py")], env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)
        return run

    def started(self, **environment: str) -> tuple[subprocess.Popen, str]:
        """One that is up, and what it has said so far."""
        run, said = self.start(**environment), ""
        for line in run.stdout:
            said += line
            if "Ctrl-C stops everything" in line:
                return run, said
        self.fail(f"it ended early: {said}")

    def refused(self, **environment: str) -> str:
        run = self.start(**environment)
        said, _ = run.communicate(timeout=60)
        self.assertNotEqual(run.returncode, 0, said)
        self.assertNotIn("Traceback", said)
        return said

    def broker(self) -> tuple[int, int]:
        """Its process and its port."""
        (ports,) = (self.root / ".local" / "nats-run").glob("*.ports")
        port = ports.read_text(encoding="utf-8").split("127.0.0.1:")[1].split('"')[0]
        return int(ports.stem.rsplit("_", 1)[1]), int(port)

    def assert_gone(self, port: int) -> None:
        deadline = time.monotonic() + 5
        while listens(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertFalse(listens(port), f"something still listens on port {port}")

    def test_ctrl_c_stops_the_service_and_then_the_broker(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            run, said = self.started()
            _, port = self.broker()
            self.assertIn("unsigned true anonymous true", said)
            os.killpg(run.pid, number)  # as a terminal does
            said, _ = run.communicate(timeout=30)
            self.assertEqual(run.returncode, 0)
            self.assertIn("service stopped before the broker", said)
            self.assert_gone(port)

    def test_a_second_ctrl_c_does_not_wait(self) -> None:
        run, _ = self.started(STUCK="yes", DRAIN_SECONDS="600")
        _, port = self.broker()
        run.send_signal(signal.SIGINT)
        while "service stopped" not in run.stdout.readline():
            pass
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(timeout=30), 0)
        self.assert_gone(port)

    def test_nothing_outlives_a_killed_script(self) -> None:
        run, said = self.started()
        _, port = self.broker()
        page = int(said.split("Page     http://127.0.0.1:")[1].split("/")[0])
        run.kill()
        self.assert_gone(port)
        self.assert_gone(page)

    def test_the_end_of_either_ends_both(self) -> None:
        said = self.refused(BROKEN="yes")
        self.assertIn("mandrill-live ended by itself (exit code 64)", said)
        log = (self.root / ".local" / "nats.log").read_text(encoding="utf-8")
        self.assert_gone(int(log.split("client connections on 127.0.0.1:")[1].split()[0]))

        run, _ = self.started()
        process, _ = self.broker()
        os.kill(process, signal.SIGKILL)
        said, _ = run.communicate(timeout=30)
        self.assertIn("nats-server ended by itself (exit code 137)", said)
        self.assertEqual(run.returncode, 137)

    def test_a_taken_port_is_one_line_that_names_the_variable(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for variable in ("HTTP_ADDR", "ADMIN_ADDR"):
                said = self.refused(**{variable: f"127.0.0.1:{port}"})
                self.assertIn(f"port {port} is taken: set {variable} to another address, e.g. {variable}=127.0.0.1:", said)
                self.assertEqual(said.count("\n"), 1)
        said = self.refused(HTTP_ADDR="somewhere")
        self.assertIn("HTTP_ADDR=somewhere is not an address and a port", said)

    def test_what_other_machines_can_reach_is_not_opened_by_itself(self) -> None:
        said = self.refused(HTTP_ADDR="0.0.0.0:0")
        self.assertIn("MANDRILL_WEBHOOK_KEYS", said)
        self.assertIn("ALLOW_ANONYMOUS", said)
        self.assertNotIn("ALLOW_ANONYMOUS", self.refused(HTTP_ADDR="0.0.0.0:0", JWT_SECRET_FILE="/run/secret"))

        run, said = self.started(HTTP_ADDR="0.0.0.0:0", MANDRILL_WEBHOOK_KEYS="key", ALLOW_ANONYMOUS="true")
        self.assertIn("unsigned None anonymous true", said)
        run.terminate()
        run.wait(timeout=30)

    def test_one_broker_at_a_time_has_the_data(self) -> None:
        run, _ = self.started()
        self.assertIn("another `make run` uses .local/nats-data", self.refused())
        run.terminate()
        run.wait(timeout=30)

    def test_a_failed_build_starts_nothing(self) -> None:
        self.assertIn("the build failed", self.refused(CARGO_FAILS="101"))
        self.assertFalse((self.root / ".local").exists())


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    unittest.main()
