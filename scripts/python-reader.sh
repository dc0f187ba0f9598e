#!/usr/bin/env bash
# Makes the Python environment in which the tests read the device's LanceDB folder as another client would.
#
#   scripts/python-reader.sh [--check]
#
# The environment is the folder NODESPACE_PYTHON, or ~/.cache/nodespace/python. Says nothing when it is there with the right version.
# --check only says what is missing. Exit codes: 0 it is there, 1 it is not, 2 wrong arguments.
set -euo pipefail

# The newest lancedb for Python whose Lance format the device's lancedb crate writes and which reads all of its indexes.
lancedb_version=0.40.0
# What lancedb for Python wants at least.
python_minor_min=10

folder=${NODESPACE_PYTHON:-$HOME/.cache/nodespace/python}
check_only=false
case "${1:-}" in
  "") ;;
  --check) check_only=true ;;
  *)
    echo "usage: scripts/python-reader.sh [--check]" >&2
    exit 2
    ;;
esac

say() { echo "python-reader: $*" >&2; }

installed() {
  [ -x "$folder/bin/python" ] || return 1
  "$folder/bin/python" - "$lancedb_version" <<'PYTHON' 2>/dev/null
import sys
from importlib.metadata import version
sys.exit(version("lancedb") != sys.argv[1])
PYTHON
}

! installed || exit 0
if $check_only; then
  say "missing: lancedb $lancedb_version for Python in $folder"
  exit 1
fi

python=$(command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c "import sys; sys.exit(sys.version_info < (3, $python_minor_min))"; then
  say "missing: Python 3.$python_minor_min or newer; install it from your system's packages"
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  say "missing: Python's venv module; on Debian and Ubuntu it is the package python3-venv"
  exit 1
fi
say "installing lancedb $lancedb_version for Python into $folder; once, about 200 MB"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "lancedb==$lancedb_version" >&2
installed
