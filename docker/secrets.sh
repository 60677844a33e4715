#!/bin/sh
# Draws the cluster's secrets into the folder that it is started in, those that are not there yet; one
# that is given by a variable goes over what was there. Arguments are for changing the secret that
# signs tokens: `renew` draws another previous one, `swap` swaps the two.
set -eu

# Complete before it has its name.
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

case "${1:-}" in
  renew) rm jwt_secret_previous ;;
  swap)
    signs=$(cat jwt_secret)
    put jwt_secret "$(cat jwt_secret_previous)"
    put jwt_secret_previous "$signs"
    ;;
esac

drawn database_password
put store "postgresql://pisync:$(cat database_password)@postgres/pisync"
given_or_drawn jwt_secret "${PISYNC_JWT_SECRET:-}"
drawn jwt_secret_previous
given_or_drawn admin_password "${PISYNC_ADMIN_PASSWORD:-}"
