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
. scripts/servers.sh

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
described=$folder/sqlx
mkdir "$described"
finish() {
  stop_postgres "$folder" || true
  rm -rf "$folder"
}
trap finish EXIT

start_postgres "$folder"
psql_in "$folder" postgres -c 'CREATE DATABASE relay'
for migration in migrations/[0-9]*.sql; do
  psql_in "$folder" relay -f "$migration"
done

# The macros write what they learn when they are told where; a file's time makes cargo compile it again.
touch relay/src/lib.rs
DATABASE_URL="postgres://relay@localhost:$postgres_port/relay?host=$folder" SQLX_OFFLINE_DIR="$described" \
  cargo check --quiet -p nodespace-relay --lib
touch relay/src/lib.rs

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
