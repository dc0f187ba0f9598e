#!/usr/bin/env bash
# Makes the Python environment with the S3-compatible server that the relay's tests keep attachments in: moto, which the tests tell to check
# every request's signature.
#
#   scripts/s3-server.sh [--check]
#
# The environment is the folder NODESPACE_S3_PYTHON, or ~/.cache/nodespace/s3-server. Says nothing when it is there with the right version.
# --check only says what is missing. Exit codes: 0 it is there, 1 it is not, 2 wrong arguments.
set -euo pipefail

moto_version=5.2.5

folder=${NODESPACE_S3_PYTHON:-$HOME/.cache/nodespace/s3-server}
check_only=false
case "${1:-}" in
  "") ;;
  --check) check_only=true ;;
  *)
    echo "usage: scripts/s3-server.sh [--check]" >&2
    exit 2
    ;;
esac

say() { echo "s3-server: $*" >&2; }

installed() {
  [ -x "$folder/bin/moto_server" ] || return 1
  "$folder/bin/python" - "$moto_version" <<'PYTHON' 2>/dev/null
import sys
from importlib.metadata import version
sys.exit(version("moto") != sys.argv[1])
PYTHON
}

! installed || exit 0
if $check_only; then
  say "missing: moto $moto_version for Python in $folder"
  exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  say "missing: Python with its venv module; on Debian and Ubuntu python3 and python3-venv"
  exit 1
fi
say "installing moto $moto_version for Python into $folder; once"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "moto[s3,server]==$moto_version" >&2
installed
