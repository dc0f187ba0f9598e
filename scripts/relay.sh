#!/usr/bin/env bash
# Brings up a relay with a PostgreSQL and a Redis of its own, and prints the URL to give to devices. Ctrl-C ends all three.
#
#   scripts/relay.sh PROGRAMS [FOLDER]
#
#   PROGRAMS  the folder of the programs nodespace-relay and nodespace-servers
#   FOLDER    where everything is kept from one run to the next; ~/.local/share/nodespace-relay unless given
#
# Settings come from the environment (NODESPACE_RELAY_...) and FOLDER/relay.toml, if it is there; see docs/relay.toml. For a relay that
# others rely on see docs/DEPLOY.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=${1:?usage: scripts/relay.sh PROGRAMS [FOLDER]}
folder=${2:-${XDG_DATA_HOME:-$HOME/.local/share}/nodespace-relay}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
servers=$folder
# The servers' user must be able to reach its folder, and nobody else's home can be.
[ "$(id -u)" -ne 0 ] || servers=/var/lib/nodespace-relay-servers

export NODESPACE_RELAY_SERVER_DATA="${NODESPACE_RELAY_SERVER_DATA:-$folder}"
arguments=()
[ ! -f "$folder/relay.toml" ] || arguments=(--config "$folder/relay.toml")
exec "$programs/nodespace-servers" --folder "$servers" -- "$programs/nodespace-relay" "${arguments[@]}" serve --migrate
