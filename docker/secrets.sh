#!/bin/sh
# Draws the cluster's secrets into the folder that it is started in, those that are not there yet; one
# that is given by a variable goes over what was there. Each has its name only once it is complete.
set -eu

put() {
  printf '%s\n' "$2" >"$1.new"
  mv "$1.new" "$1"
}

drawn() {
  [ -s "$1" ] || put "$1" "$(od -A n -N 32 -t x1 /dev/urandom | tr -d ' \n')"
}

given_or_drawn() {
  if [ -n "$2" ]; then put "$1" "$2"; else drawn "$1"; fi
}

drawn database_password
put store "postgresql://pisync:$(cat database_password)@postgres/pisync"
given_or_drawn jwt_secret "${PISYNC_JWT_SECRET:-}"
given_or_drawn admin_password "${PISYNC_ADMIN_PASSWORD:-}"
