#!/bin/sh
# Installs what `make chaos` needs beside Python: RabbitMQ of Debian's packages and a C compiler.
# Nothing is started: the tests run RabbitMQ as a process of their own.
set -eu

needed=""
ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server >/dev/null 2>&1 || needed="$needed rabbitmq-server"
command -v cc >/dev/null || needed="$needed gcc libc6-dev"
[ -n "$needed" ] || exit 0

command -v apt-get >/dev/null || {
  echo "make chaos needs RabbitMQ and cc; this is no Debian: install them by hand" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || {
  echo "make chaos needs packages:$needed. As root: apt-get install --no-install-recommends$needed" >&2
  exit 1
}

# A package of a server starts it when it is installed, unless this program says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 -- several words
apt-get install -y -qq --no-install-recommends $needed
