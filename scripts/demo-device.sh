#!/usr/bin/env bash
# One device, alone and offline: notes go in, are searched, edited, watched; the plug is pulled; nothing is lost.
#
#   scripts/demo-device.sh PROGRAM [FOLDER-OF-MARKDOWN]
#
# Works in a temporary home that is removed at the end, on a port that the system chooses.
set -euo pipefail
program=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
corpus=${2:-}
if [ -z "$corpus" ]; then
  for candidate in "${NODESPACE_DATA:-$root/../shared/data}/rust-book" "$root/testnet/corpus"; do
    [ -d "$candidate" ] && corpus=$candidate && break
  done
fi
[ -d "$corpus" ] || { echo "demo: $corpus is no folder" >&2; exit 1; }

folder=$(mktemp -d)
export NODESPACE_HOME="$folder/home" NODESPACE_API_PORT=0 NODESPACE_LOG=warn
daemon="" watcher=""
finish() {
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Shows a command as it would be typed, then runs it.
show() {
  printf '$ nodespace'
  printf ' %q' "$@"
  printf '\n'
  "$program" "$@"
}
start() {
  "$program" run >>"$folder/daemon.log" 2>&1 &
  daemon=$!
  for _ in $(seq 600); do
    [ -f "$NODESPACE_HOME/api.json" ] && "$program" status --json >/dev/null 2>&1 && return
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  echo "demo: the daemon did not start:" >&2
  cat "$folder/daemon.log" >&2
  exit 1
}

title "1. A home for notes: keys, a journal, a first workspace"
show init --name "Field notes"

title "2. A daemon; somebody watches the change stream"
start
"$program" changes --follow >"$folder/changes.txt" 2>&1 &
watcher=$!
show status

title "3. A folder of Markdown becomes a tree of nodes"
show import "$corpus"
echo "and again: nothing is written twice"
show import "$corpus"
show node tree --depth 2 --limit 12

title "4. Write, edit, look back"
show node create --id plan --type task --set due=monday "Measure twice, cut once"
show node edit plan --content "Measure three times, cut once" --set due=friday
show node edit plan --content "Measure three times, cut once. Then sand."
show node history plan
first=$("$program" node history plan --json | grep -oE '"op": ?"[0-9a-f]+"' | head -n1 | grep -oE '[0-9a-f]{64}')
show node show-at plan --op "${first:0:12}"

title "5. Search"
show search "sand" --limit 3
show search "borrow checker" --limit 5
show search "measure" --type task --meta due=friday

title "6. The plug is pulled in the middle of work (kill -9), then the device starts again"
for i in $(seq 1 20); do "$program" node create --id "late-$i" "written just before, number $i" >/dev/null; done
kill "$watcher" 2>/dev/null || true
watcher=""
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
start
show node get late-20
show doctor

title "7. What the watcher saw at the end"
tail -n 6 "$folder/changes.txt"

title "8. Everything is yours: take it out, put it away"
show export --format jsonl "$folder/notes.jsonl"
head -c 300 "$folder/notes.jsonl" | head -n 1
show backup "$folder/notes.backup"
wc -c "$folder/notes.jsonl" "$folder/notes.backup" | head -n 2 | sed "s|$folder/||"
