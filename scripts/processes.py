"""Starting processes and stopping them in order: what run.py needs, and nothing of mandrill-live."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

# From <sys/prctl.h>: the signal a process gets when its parent dies.
PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child should do as little as possible before its program starts.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StopSignals:
    """Ctrl-C, a plain kill and a closed terminal, as a count instead of an interruption anywhere."""

    def __init__(self) -> None:
        self.received = 0
        # The handlers only count; this pipe is what wakes a wait that is under way.
        self._wake, write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)
        # Handled, so that the end of a child wakes a wait as well.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _count(self, *_: object) -> None:
        self.received += 1

    def wait(self, seconds: float) -> None:
        """Returns after that time, or at once when a signal comes or a child ends."""
        if select.select([self._wake], [], [], seconds)[0]:
            try:
                os.read(self._wake, 4096)
            except BlockingIOError:
                pass


class Child:
    """One process that ends when this one does.

    It gets a session of its own, so that a Ctrl-C in the terminal reaches only this process, which then
    stops its children in order. It has no children that outlive it: its whole group is killed with it.
    """

    def __init__(self, name: str, command: list[str], **options: object) -> None:
        self.name = name
        parent = os.getpid()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: die_with(parent), **options)

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; 128 and the signal's number where a signal ended it, as a shell has it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def stop(self, signals: StopSignals, seconds: float) -> None:
        """Asks it to end and waits; kills it when the time is over or another stop signal comes."""
        asked, deadline = signals.received, time.monotonic() + seconds
        if self.exit_code() is None:
            self._process.terminate()
        while self.exit_code() is None and signals.received == asked and time.monotonic() < deadline:
            signals.wait(deadline - time.monotonic())
        self.kill()

    def kill(self) -> None:
        """Ends what is left of it and of its group."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # Nothing is left (macOS names that a lack of permission).
        self._process.wait()


def die_with(parent: int) -> None:
    """Runs in the child before its program: asks the kernel to kill it when its parent is killed.

    Only Linux has this. Killing is safe here: what the broker acknowledged is on disk.
    """
    if LIBC is None:
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # It died before the kernel was asked.
