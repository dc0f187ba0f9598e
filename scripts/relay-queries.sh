#!/usr/bin/env bash
# Renews, or checks, the descriptions of the relay's SQL queries in relay/.sqlx, from which the crate is compiled without a database.
#
#   scripts/relay-queries.sh [--check]
#
#   --check  changes nothing; exit code 1 when a description is missing, stale or of no query any more
#
# Starts a PostgreSQL in a temporary folder, applies the migrations and compiles the relay's queries against it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

check=false
case "${1:-}" in
  "") ;;
  --check) check=true ;;
  *)
    echo "usage: scripts/relay-queries.sh [--check]" >&2
    exit 2
    ;;
esac

folder=$(mktemp -d "${TMPDIR:-/tmp}/nodespace-queries-XXXXXX")
trap 'rm -rf "$folder"' EXIT
described=$folder/sqlx
mkdir "$described"

# Beside a PostgreSQL with an empty database.
describe() {
  local migration
  for migration in migrations/[0-9]*.sql; do
    psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -f "$migration" "$NODESPACE_RELAY_DATABASE_URL"
  done
  # The macros write what they learn when they are told where; a file's time makes cargo compile it again.
  touch relay/src/lib.rs
  DATABASE_URL="$NODESPACE_RELAY_DATABASE_URL" SQLX_OFFLINE_DIR="$described" cargo check --quiet -p nodespace-relay --lib
  touch relay/src/lib.rs
}
export described
export -f describe
cargo build --quiet -p nodespace-servers
target=$(cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]+)".*/\1/')
"$target/debug/nodespace-servers" -- bash -euo pipefail -c describe

if $check; then
  if diff -rq relay/.sqlx "$described" >&2; then
    exit 0
  fi
  echo "relay-queries: relay/.sqlx is stale; run scripts/relay-queries.sh and commit it" >&2
  exit 1
fi
rm -rf relay/.sqlx
cp -r "$described" relay/.sqlx
echo "relay-queries: $(find relay/.sqlx -type f | wc -l) queries described"
