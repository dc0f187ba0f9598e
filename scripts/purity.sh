#!/usr/bin/env bash
# Checks by machine what reviewers would forget: which crate may know which.
#
#   1. nodespace-protocol reaches no runtime, network, storage or randomness, on any platform.
#   2. nodespace-protocol and nodespace-servers know no other crate of ours; nodespace-node and nodespace-relay do not know each other;
#      nobody knows nodespace-testnet, and nothing but tests and the testnet knows nodespace-servers.
#   3. nodespace-protocol has its list of disallowed methods and types, which clippy enforces.
#   4. nodespace-protocol compiles for wasm32, where there is no clock, file or thread to reach (skipped where that target is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

impure=(tokio async-std smol mio socket2 libp2p lancedb lance arrow redb sqlx postgres redis rand getrandom reqwest hyper axum rustls)
failures=0

fail() {
  echo "purity: $*" >&2
  failures=$((failures + 1))
}

# The names of all crates a crate reaches over the given kinds of edges. `cargo tree -i` is not asked: for a crate that is nowhere in the
# graph it fails, and for one that is there in two versions it fails too.
reached() {
  cargo tree --quiet -p "$1" -e "$2" --target all --prefix none --format '{p}' | cut -d' ' -f1 | sort -u
}

echo "purity: nodespace-protocol reaches none of: ${impure[*]}"
protocol=$(reached nodespace-protocol normal)
for crate in "${impure[@]}"; do
  if grep -qx "$crate" <<<"$protocol"; then
    fail "nodespace-protocol reaches $crate:"
    cargo tree -p nodespace-protocol -e normal --target all -i "$crate" >&2 || true
  fi
done

# knows_not CRATE OTHER...: CRATE reaches none of the others, not even for its tests.
knows_not() {
  local crate=$1 other known
  shift
  known=$(reached "$crate" normal,build,dev)
  for other in "$@"; do
    ! grep -qx "$other" <<<"$known" || fail "$crate depends on $other"
  done
}
echo "purity: our crates know only those below them"
knows_not nodespace-protocol nodespace-node nodespace-relay nodespace-testnet
knows_not nodespace-node nodespace-relay nodespace-testnet
knows_not nodespace-relay nodespace-node nodespace-testnet
knows_not nodespace-servers nodespace-protocol nodespace-node nodespace-relay nodespace-testnet
for crate in nodespace-node nodespace-relay; do
  known=$(reached "$crate" normal,build)
  ! grep -qx nodespace-servers <<<"$known" || fail "$crate depends on nodespace-servers outside of its tests"
done

echo "purity: nodespace-testnet, nodespace-servers and nodespace-store do without what compiles for minutes"
for crate in nodespace-testnet nodespace-servers nodespace-store; do
  known=$(reached "$crate" normal,build,dev)
  for heavy in lancedb libp2p sqlx axum; do
    ! grep -qx "$heavy" <<<"$known" || fail "$crate reaches $heavy"
  done
done

echo "purity: nodespace-protocol has its disallowed methods and types"
for list in disallowed-methods disallowed-types; do
  grep -q "^$list = \[" protocol/clippy.toml || fail "protocol/clippy.toml has no $list"
done

if rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown; then
  echo "purity: nodespace-protocol compiles for wasm32-unknown-unknown"
  cargo check --quiet -p nodespace-protocol --target wasm32-unknown-unknown || fail "nodespace-protocol does not compile for wasm32-unknown-unknown"
else
  echo "purity: the wasm32 check was skipped: run 'rustup target add wasm32-unknown-unknown' (its C code needs clang as well)"
fi

((failures == 0)) || exit 1
