#!/usr/bin/env bash
# Brings up a relay with a PostgreSQL and a Redis of its own, and prints the URL to give to devices. Ctrl-C ends all three.
#
#   scripts/relay.sh PROGRAM [FOLDER]
#
#   PROGRAM  the program nodespace-relay
#   FOLDER   where everything is kept from one run to the next; ~/.local/share/nodespace-relay unless given
#
# Settings come from the environment (NODESPACE_RELAY_...) and FOLDER/relay.toml, if it is there; see docs/relay.toml. For a relay that
# others rely on see docs/DEPLOY.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/servers.sh

program=${1:?usage: scripts/relay.sh PROGRAM [FOLDER]}
folder=${2:-${XDG_DATA_HOME:-$HOME/.local/share}/nodespace-relay}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
servers=$folder
if [ "$(id -u)" -eq 0 ]; then
  # The servers' user must be able to reach its folder, and nobody else's home can be.
  servers=/var/lib/nodespace-relay-servers
  mkdir -p "$servers"
fi
relay=""
finish() {
  if [ -n "$relay" ]; then
    kill "$relay" 2>/dev/null || true
    wait "$relay" 2>/dev/null || true
  fi
  stop_redis "$servers"
  stop_postgres "$servers"
}
trap finish EXIT
trap 'exit 0' INT TERM

start_postgres "$servers"
start_redis "$servers"
psql_in "$servers" postgres -tAc "SELECT 1 FROM pg_database WHERE datname = 'relay'" | grep -q 1 ||
  psql_in "$servers" postgres -c 'CREATE DATABASE relay'

export NODESPACE_RELAY_DATABASE_URL="postgres://relay@localhost:$postgres_port/relay?host=$servers"
export NODESPACE_RELAY_REDIS_URL="redis+unix://$servers/redis.sock"
export NODESPACE_RELAY_SERVER_DATA="${NODESPACE_RELAY_SERVER_DATA:-$folder}"
arguments=()
[ ! -f "$folder/relay.toml" ] || arguments=(--config "$folder/relay.toml")
"$program" "${arguments[@]}" serve --migrate &
relay=$!
wait "$relay"
