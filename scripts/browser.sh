#!/usr/bin/env bash
# Runs node on a script of cli/tests/browser with its packages installed: `browser.sh [node options] script ...`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
packages=$root/cli/tests/browser

node -e 'const [major, minor] = process.versions.node.split(".").map(Number)
  process.exit(major > 20 || (major === 20 && minor >= 11) ? 0 : 1)' ||
  { echo "browser: node $(node --version) is too old: install Node 20.11 or newer" >&2; exit 1; }

# npm writes the second file last, so an interrupted install is done again.
if ! [ "$packages/node_modules/.package-lock.json" -nt "$packages/package-lock.json" ]; then
  echo "browser: installing playwright-core and a headless Chromium into ${packages#"$root"/}/node_modules" >&2
  npm ci --prefix "$packages" --no-audit --no-fund --loglevel=error >&2
fi
cd "$packages"
exec node "$@"
