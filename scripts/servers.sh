# Functions that start and stop PostgreSQL and Redis in a folder, for scripts that source this.
#
#   start_postgres FOLDER    a cluster in FOLDER/postgres, made if it is not there, on a socket in FOLDER
#   stop_postgres FOLDER
#   psql_in FOLDER DATABASE ARGUMENT...
#   start_redis FOLDER       on the socket FOLDER/redis.sock
#   stop_redis FOLDER
#
# Root may not run PostgreSQL: then the servers run as the user postgres or nobody, to whom FOLDER is given.
# shellcheck shell=bash

postgres_port=5432

# Runs something as the servers' user.
as_server() {
  if [ "$(id -u)" -ne 0 ]; then
    "$@"
    return
  fi
  local user=nobody
  ! id postgres >/dev/null 2>&1 || user=postgres
  setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
}

give_to_server() {
  [ "$(id -u)" -ne 0 ] || chown "$(as_server id -u):$(as_server id -g)" "$1"
  chmod 700 "$1"
}

# The folder of the newest PostgreSQL's programs: Debian keeps them outside of PATH, one folder a version.
postgres_programs() {
  local folder newest=""
  for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin "$(dirname "$(command -v initdb || echo /none/initdb)")"; do
    [ -x "$folder/initdb" ] && newest=$folder
  done
  if [ -z "$newest" ]; then
    echo "PostgreSQL's server programs are missing: run scripts/setup.sh relay" >&2
    return 1
  fi
  echo "$newest"
}

start_postgres() {
  local folder=$1 programs
  programs=$(postgres_programs)
  give_to_server "$folder"
  if [ ! -f "$folder/postgres/PG_VERSION" ]; then
    (cd "$folder" && as_server "$programs/initdb" --username=relay --auth=trust --encoding=UTF8 --locale=C -D "$folder/postgres" >/dev/null)
  fi
  # Only the socket is listened on: nobody but this machine's users gets in, and no port can be taken.
  (cd "$folder" && as_server "$programs/pg_ctl" -s -w -D "$folder/postgres" -l "$folder/postgres.log" \
    -o "-c listen_addresses='' -c unix_socket_directories='$folder' -p $postgres_port -c max_connections=200" start)
}

stop_postgres() {
  local folder=$1
  [ -f "$folder/postgres/postmaster.pid" ] || return 0
  (cd "$folder" && as_server "$(postgres_programs)/pg_ctl" -s -w -D "$folder/postgres" -m fast stop)
}

psql_in() {
  local folder=$1 database=$2
  shift 2
  psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -h "$folder" -p "$postgres_port" -U relay -d "$database" "$@"
}

start_redis() {
  local folder=$1
  (cd "$folder" && as_server redis-server --port 0 --unixsocket "$folder/redis.sock" --unixsocketperm 700 --dir "$folder" --save '' \
    --appendonly no --daemonize yes --pidfile "$folder/redis.pid" --logfile "$folder/redis.log")
  local tries
  for tries in $(seq 100); do
    [ "$(redis-cli -s "$folder/redis.sock" PING 2>/dev/null)" != PONG ] || return 0
    sleep 0.1
  done
  echo "Redis did not answer after $tries tries; see $folder/redis.log" >&2
  return 1
}

stop_redis() {
  local folder=$1
  [ -S "$folder/redis.sock" ] || return 0
  redis-cli -s "$folder/redis.sock" SHUTDOWN NOSAVE >/dev/null 2>&1 || true
}
