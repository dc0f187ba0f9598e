#!/usr/bin/env bash
# Finds what this machine lacks for building or testing, and installs it.
#
#   scripts/setup.sh [--check] [build|relay|test]...
#
#   build    what `make demo` needs: Rust, a C compiler, make, git, protoc (LanceDB is compiled with it)
#   relay    also what `make relay` needs: PostgreSQL and Redis
#   test     also what `make test` needs: cargo-nextest, PostgreSQL, Redis, shellcheck, a Python with LanceDB (the default)
#   --check  only says what is missing
#
# Says nothing and needs no rights when nothing is missing. On Debian and Ubuntu it installs the distribution's packages (as root, or with
# sudo); elsewhere it prints what to install. Exit codes: 0 all there, 1 something is missing, 2 wrong arguments.
#
# No linker is installed or configured: since Rust 1.90 the toolchain links with the lld it ships on x86-64 Linux, and a linker named in
# the environment or in .cargo/config would rebuild everything whenever two callers disagree about it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

# The oldest server whose SQL the relay may use.
postgres_major_min=15

check_only=false
groups=()
for argument in "$@"; do
  case "$argument" in
    --check) check_only=true ;;
    build | relay | test) groups+=("$argument") ;;
    *)
      echo "usage: scripts/setup.sh [--check] [build|relay|test]..." >&2
      exit 2
      ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=(test)

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
wants() { [[ " ${groups[*]} " == *" $1 "* ]]; }

# The newest PostgreSQL server on this machine, as its major version, or 0. Debian keeps servers outside PATH, one folder a version.
postgres_major() {
  local candidate major newest=0
  for candidate in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
    /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres; do
    [ -x "$candidate" ] || continue
    major=$("$candidate" --version 2>/dev/null | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
    [[ $major =~ ^[0-9]+$ ]] && ((major > newest)) && newest=$major
  done
  echo "$newest"
}

# protoc is two things: the compiler, and the .proto files of the well-known types that it includes.
has_protobuf() {
  has protoc || return 1
  local prefix
  prefix=$(dirname "$(dirname "$(command -v protoc)")")
  [ -f "$prefix/include/google/protobuf/empty.proto" ] || [ -f /usr/include/google/protobuf/empty.proto ]
}

# What is missing, by our own names for it.
find_missing() {
  missing=()
  has cc && has c++ || missing+=(compiler)
  has make || missing+=(make)
  has git || missing+=(git)
  has_protobuf || missing+=(protobuf)
  wants test || wants relay || return 0
  (($(postgres_major) >= postgres_major_min)) || missing+=(postgresql)
  has redis-server || missing+=(redis)
  wants test || return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python)
  has shellcheck || missing+=(shellcheck)
}

# package SYSTEM NAME: what a system calls the package that brings NAME.
package() {
  case "$1:$2" in
    debian:compiler) echo build-essential ;;
    debian:protobuf) echo protobuf-compiler libprotobuf-dev ;;
    debian:redis) echo redis-server ;;
    debian:python) echo python3 python3-venv ;;
    fedora:compiler) echo gcc gcc-c++ ;;
    fedora:protobuf) echo protobuf-compiler protobuf-devel ;;
    fedora:postgresql) echo postgresql-server ;;
    fedora:shellcheck) echo ShellCheck ;;
    *:python) echo python3 ;;
    arch:compiler) echo gcc ;;
    macos:compiler) ;; # xcode-select brings it, see below
    macos:postgresql) echo postgresql@17 ;;
    *) echo "$2" ;;
  esac
}

packages() {
  local system=$1 name
  for name in "${missing[@]}"; do package "$system" "$name"; done | xargs
}

# Tells what to do on a system where we install nothing ourselves.
explain() {
  say "missing: ${missing[*]}"
  if has brew; then
    [[ " ${missing[*]} " == *" compiler "* ]] && say "run: xcode-select --install"
    local names
    names=$(packages macos)
    [ -z "$names" ] || say "run: brew install $names"
  elif has dnf; then
    say "run: sudo dnf install $(packages fedora)"
  elif has pacman; then
    say "run: sudo pacman -S --needed $(packages arch)"
  elif has apt-get; then
    say "run as root: apt-get install $(packages debian)"
  else
    say "install them with your system's package manager (PostgreSQL: version $postgres_major_min or newer, with its server programs)"
  fi
}

install_debian() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! has sudo; then
      explain
      exit 1
    fi
    as_root=(sudo)
  fi
  local names
  read -ra names <<<"$(packages debian)"
  say "missing: ${missing[*]}"
  say "installing ${names[*]} with apt-get${as_root[0]:+ by sudo}"
  # The lists of a fresh machine are empty or old. A mirror that is just being updated answers wrongly once.
  "${as_root[@]}" apt-get update -qq || { sleep 5 && "${as_root[@]}" apt-get update -qq; }
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${names[@]}" </dev/null >&2
  find_missing
  if [ ${#missing[@]} -gt 0 ]; then
    say "still missing after the installation: ${missing[*]}"
    [[ " ${missing[*]} " != *" postgresql "* ]] || say "this release's PostgreSQL is older than $postgres_major_min: add the PostgreSQL project's own package source"
    exit 1
  fi
}

setup_system() {
  find_missing
  [ ${#missing[@]} -gt 0 ] || return 0
  if $check_only; then
    explain
    incomplete=true
  elif has apt-get && [ -f /etc/debian_version ]; then
    install_debian
  else
    explain
    exit 1
  fi
}

setup_rust() {
  local wanted found
  wanted=$(sed -nE 's/^channel = "(.*)"/\1/p' rust-toolchain.toml)
  if ! has cargo; then
    say "missing: Rust $wanted. Install rustup (https://rustup.rs, or your system's package of that name); it brings the version that"
    say "rust-toolchain.toml names when cargo is first run here. Then run this again."
    exit 1
  fi
  # With rustup the right version comes by itself; a cargo without it has to be new enough.
  found=$(cargo --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
    say "missing: Rust $wanted or newer; cargo here is $found. Install rustup (https://rustup.rs) or a newer Rust."
    exit 1
  fi
  wants test || return 0
  local component
  for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 && continue
    say "missing: cargo $component. Run: rustup component add rustfmt clippy"
    exit 1
  done
}

# Another LanceDB client, to see that it can read what we write. Without it one test says so and does nothing.
setup_python_reader() {
  if $check_only; then
    scripts/python-reader.sh --check || say "missing: Python's lancedb; one test will be skipped. Run: scripts/python-reader.sh"
  else
    scripts/python-reader.sh || say "Python's lancedb cannot be installed; one test will be skipped"
  fi
}

# A libp2p node of another implementation, to see that it can connect and is turned away. Without it one test says so and does nothing.
setup_js_peer() {
  if $check_only; then
    scripts/js-peer.sh --check || say "missing: js-libp2p; one test will be skipped. Run: scripts/js-peer.sh"
  else
    scripts/js-peer.sh || say "js-libp2p cannot be installed; one test will be skipped"
  fi
}

setup_nextest() {
  ! cargo nextest --version >/dev/null 2>&1 || return 0
  say "missing: cargo-nextest"
  if $check_only; then
    say "run: cargo install --locked cargo-nextest"
    incomplete=true
    return 0
  fi
  say "installing cargo-nextest with cargo; this takes some minutes, once"
  cargo install --locked cargo-nextest >&2
}

# An S3-compatible server, to keep attachments in a bucket. Without it two tests say so and do nothing; where NODESPACE_S3_PYTHON
# names its folder they fail.
setup_s3_server() {
  local without="two tests will be skipped"
  [ -z "${NODESPACE_S3_PYTHON:-}" ] || without="two tests will fail, since NODESPACE_S3_PYTHON is set"
  if $check_only; then
    scripts/s3-server.sh --check || say "missing: an S3-compatible server; $without. Run: scripts/s3-server.sh"
  else
    scripts/s3-server.sh || say "the S3-compatible server cannot be installed; $without"
  fi
}

incomplete=false
setup_system
setup_rust
! wants test || setup_nextest
! wants test || setup_python_reader
! wants test || setup_js_peer
! wants test || setup_s3_server
! $incomplete
