#!/usr/bin/env bash
# Everything that has to hold before a change lands: what `make test` runs, here and in CI.
#
#   scripts/test.sh [STEP]...    all steps in order, or only those named
#
# Every step is run even when an earlier one failed, so that one run tells everything; only without the tools there is no going on. The
# table at the end has one line a step, the last line counts them. Exit code: 0 when nothing failed, 2 for a step that does not exist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

# Not among all: `namespaces` (needs root), and outside of CI `queries` (compiles the relay's library once more than anybody needs who has not
# changed a query); both are run by name.
all_steps=(setup lock format lint docs purity shell tests doctests simulator mutants cluster fuzz licences)
known_steps=("${all_steps[@]}" queries namespaces)
[ "${CI:-}" != true ] || all_steps+=(queries)
# A step that cannot run here says why and returns this.
skipped=77

step_setup() { scripts/setup.sh test; }
step_lock() { cargo metadata --locked --format-version 1 >/dev/null; }
step_format() { cargo fmt --all --check; }
step_lint() { cargo clippy --quiet --workspace --all-targets -- -D warnings; }
step_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps; }
step_purity() { scripts/purity.sh; }
step_queries() { scripts/relay-queries.sh --check; }
step_tests() { cargo nextest run --workspace --profile "$([ "${CI:-}" = true ] && echo ci || echo default)"; }
step_doctests() { cargo test --quiet --workspace --doc; }
step_simulator() { cargo run -q -p nodespace-testnet --profile sim -- sim --seeds 0..200 --devices 3..20; }
step_mutants() { cargo run -q -p nodespace-testnet --profile sim -- mutants; }

# Real devices need both programs in one folder, compiled as the tests before were, so that nothing is compiled twice. Says which folder.
programs() {
  cargo build --quiet --workspace --bins
  cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]+)".*/\1\/debug/'
}
testnet() {
  local folder
  folder=$(programs)
  "$folder/nodespace-testnet" "$@"
}
# Two devices to play with, whose only way to each other is QUIC, until they are asked to end: which they have to do in order.
devices_over_quic() {
  local folder said="" connected
  folder=$(programs)
  coproc UP { exec "$folder/nodespace-testnet" up --devices 2 --quic --json; }
  # The shell forgets it when it has ended.
  local process=$UP_PID
  # When they do not come up they have said why, and end by themselves.
  read -r said <&"${UP[0]}" || true
  kill -TERM "$process" 2>/dev/null || true
  wait "$process"
  connected=$({ grep -oE '"connected":\["[^"]+/quic-v1' <<<"$said" || true; } | wc -l)
  echo "$connected of 2 devices were connected over QUIC, and both ended in order"
  [ "$connected" -eq 2 ]
}
# Two groups side by side: scenarios wait more than they work. The second half of each has a relay, with a PostgreSQL and a Redis of its own.
step_cluster() {
  devices_over_quic
  testnet run --short tickets conflict-storm churn offline-week never-together lying-relay &
  local other=$! code=0
  testnet run --short smoke partition import-while-editing removed-while-offline relay-faults old-backup lost-database || code=$?
  wait $other && return $code
}
# Returns 77 by itself where there are no namespaces to be had.
step_namespaces() { testnet netns; }

step_fuzz() { cargo run -q --manifest-path protocol/fuzz/Cargo.toml --bin smoke -- --seconds 20; }

step_shell() {
  if ! command -v shellcheck >/dev/null; then
    echo "shellcheck is not installed: the scripts were not checked"
    return $skipped
  fi
  shellcheck scripts/*.sh .ci/run
}

# Advisories change from day to day without any change of ours, so they are the nightly run's business and not a reason to refuse a change.
step_licences() {
  if ! cargo deny --version >/dev/null 2>&1; then
    echo "cargo-deny is not installed: licences, bans and sources were not checked (cargo install --locked cargo-deny)"
    return $skipped
  fi
  cargo deny --log-level error check licenses bans sources
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${all_steps[@]}")
for step in "${steps[@]}"; do
  if [[ " ${known_steps[*]} " != *" $step "* ]]; then
    echo "no step '$step'; there are: ${known_steps[*]}" >&2
    exit 2
  fi
done

passed=0 failed=0 skips=0 table=""
for step in "${steps[@]}"; do
  printf '\n== %s\n' "$step"
  started=$SECONDS
  code=0
  # In a subshell of its own with `set -e`: within an `||` bash would go on after a failed command.
  set +e
  (
    set -e
    "step_$step"
  )
  code=$?
  set -e
  case $code in
    0) verdict=passed passed=$((passed + 1)) ;;
    "$skipped") verdict=skipped skips=$((skips + 1)) ;;
    *) verdict=FAILED failed=$((failed + 1)) ;;
  esac
  table+=$(printf '%-10s  %-7s  %5d s' "$step" "$verdict" $((SECONDS - started)))$'\n'
  [ "$step:$code" = setup:0 ] || [ "$step" != setup ] || break
done

printf '\n== summary\n%s\n' "$table"
echo "$passed passed, $failed failed$( ((skips == 0)) || echo ", $skips skipped")"
((failed == 0))
