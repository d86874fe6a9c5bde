#!/usr/bin/env python3
"""Keeps Swagger UI, which /doc shows, as its authors publish it.

`swagger_ui.py VERSION` replaces the files in notifier/src/doc/swagger-ui by those of that version of the npm
package swagger-ui-dist; npm checks the package's own checksum. `swagger_ui.py --check` compares what is kept
with SHA256SUMS, so that a change to it does not go unnoticed. Used by `make test`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "swagger-ui-dist"
# Only what the page loads, and the licences that go with it.
FILES = ["swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css", "LICENSE", "NOTICE"]

FOLDER = Path(__file__).resolve().parent.parent / "notifier" / "src" / "doc" / "swagger-ui"
SUMS = FOLDER / "SHA256SUMS"


def sums(version: str) -> str:
    lines = [f"# {PACKAGE} {version}"]
    lines += [f"{hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()}  {name}" for name in FILES]
    return "\n".join(lines) + "\n"


def update(version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{version}"], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            for name in FILES:
                member = package.extractfile(f"package/{name}")
                assert member is not None, name
                (FOLDER / name).write_bytes(member.read())
    SUMS.write_text(sums(version))


def check() -> None:
    version = SUMS.read_text().splitlines()[0].split()[-1]
    if SUMS.read_text() != sums(version):
        sys.exit(f"{FOLDER}: not as {PACKAGE} {version} has it. Put it back with: {sys.argv[0]} {version}")
    kept = {path.name for path in FOLDER.iterdir()}
    if kept != {*FILES, SUMS.name}:
        sys.exit(f"{FOLDER}: holds {sorted(kept ^ {*FILES, SUMS.name})} too much or too little")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check() if sys.argv[1] == "--check" else update(sys.argv[1])
