#!/usr/bin/env bash
# Brings up a relay with a PostgreSQL and a Redis of its own, and prints the URL to give to devices. Ctrl-C ends all three.
#
#   scripts/relay.sh PROGRAMS [FOLDER]
#
#   PROGRAMS  the folder of the programs nodespace-relay and nodespace-servers
#   FOLDER    where everything is kept from one run to the next; ~/.local/share/nodespace-relay unless given
#
# Settings come from the environment (NODESPACE_RELAY_...) and FOLDER/relay.toml, if it is there; see docs/relay.toml. Without any it listens
# for this machine alone. For a relay that others rely on see docs/DEPLOY.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=${1:?usage: scripts/relay.sh PROGRAMS [FOLDER]}
folder=${2:-${XDG_DATA_HOME:-$HOME/.local/share}/nodespace-relay}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
# The servers take no folder that holds anything else, and FOLDER may hold a relay.toml. Once they were kept in FOLDER itself.
servers=$folder/servers
[ ! -f "$folder/servers.lock" ] || servers=$folder
# The servers' user must be able to reach its folder, and nobody else's home can be.
[ "$(id -u)" -ne 0 ] || servers=/var/lib/nodespace-relay-servers

export NODESPACE_RELAY_SERVER_DATA="${NODESPACE_RELAY_SERVER_DATA:-$folder}"
arguments=()
[ ! -f "$folder/relay.toml" ] || arguments=(--config "$folder/relay.toml")
if [ -z "${NODESPACE_RELAY_SERVER_ADDRESS:-}" ] && [ "${#arguments[@]}" -eq 0 ]; then
  {
    echo "the relay listens for this machine alone; for others, in a network that may read along, start it with"
    echo "  NODESPACE_RELAY_SERVER_ADDRESS=0.0.0.0:8470 NODESPACE_RELAY_SERVER_PUBLIC_URL=http://THIS-MACHINE:8470"
  } >&2
fi
exec "$programs/nodespace-servers" --folder "$servers" -- "$programs/nodespace-relay" "${arguments[@]}" serve --migrate
