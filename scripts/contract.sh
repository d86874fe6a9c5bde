#!/usr/bin/env bash
# Runs cli/tests/contract/run.py with its packages installed, in the git-ignored .local/.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tests=$root/cli/tests/contract

# schemathesis asks for this one; a system may have it beside an older `python3`.
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
[ "${python:-}" ] ||
  { echo "contract: no Python 3.11 or newer ($(python3 --version) is too old): install one beside it" >&2; exit 1; }

# One environment a set of packages: a change of the list makes another, and an interrupted install is done again.
wanted=$(cat "$tests/requirements.txt"; "$python" --version)
packages=$root/.local/contract-$("$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:12])' <<<"$wanted")
if ! [ -e "$packages/complete" ]; then
  echo "contract: installing schemathesis into ${packages#"$root"/}" >&2
  rm -rf "$packages"
  "$python" -m venv "$packages" ||
    { echo "contract: $("$python" --version) has no venv: install it (Debian: python3-venv)" >&2; exit 1; }
  "$packages/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$tests/requirements.txt"
  touch "$packages/complete"
fi
exec "$packages/bin/python" "$tests/run.py" "$@"
