#!/usr/bin/env bash
# Makes the folder from which the tests run a libp2p node of another implementation: js-libp2p.
#
#   scripts/js-peer.sh [--check]
#
# The folder is NODESPACE_JS, or ~/.cache/nodespace/js. Says nothing when it is there. --check only says what is missing. Where NODESPACE_JS
# is set the test fails without it; else it is skipped.
# Exit codes: 0 it is there, 1 it is not, 2 wrong arguments.
set -euo pipefail

# The packages that speak TCP, noise, yamux and identify. Newer ones of the same major version do as well.
packages=(libp2p@3 @libp2p/tcp@11 @chainsafe/libp2p-noise@17 @chainsafe/libp2p-yamux@8 @libp2p/identify@4)
node_major_min=20

folder=${NODESPACE_JS:-$HOME/.cache/nodespace/js}
check_only=false
case "${1:-}" in
  "") ;;
  --check) check_only=true ;;
  *)
    echo "usage: scripts/js-peer.sh [--check]" >&2
    exit 2
    ;;
esac

say() { echo "js-peer: $*" >&2; }

installed() {
  local package
  for package in "${packages[@]}"; do
    [ -f "$folder/node_modules/${package%@*}/package.json" ] || return 1
  done
}

! installed || exit 0
if $check_only; then
  say "missing: js-libp2p in $folder"
  exit 1
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  say "missing: Node.js $node_major_min or newer with npm"
  exit 1
fi
if [ "$(node --version | sed -E 's/^v([0-9]+).*/\1/')" -lt "$node_major_min" ]; then
  say "Node.js here is $(node --version); js-libp2p wants $node_major_min or newer"
  exit 1
fi
say "installing js-libp2p into $folder; once, about 30 MB"
mkdir -p "$folder"
echo '{"private": true, "type": "module"}' >"$folder/package.json"
npm install --prefix "$folder" --silent --no-audit --no-fund --no-package-lock "${packages[@]}" >/dev/null 2>&1
installed
