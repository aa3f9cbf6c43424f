#!/usr/bin/env bash
# Sourced by the other scripts of this folder: where we are, and how Docker is called.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compose() { docker compose -f docker-compose.nats.yaml "$@"; }

say() { printf '%s\n' "$*"; }

fail() {
	say "$0: $*" >&2
	exit 1
}

# What .env says of a name, or what is given.
from_env() { # NAME DEFAULT
	local found=""
	[[ -f .env ]] && found=$(sed -n "s/^$1=//p" .env | tail -1)
	say "${found:-$2}"
}

into_env() { # NAME VALUE
	touch .env
	sed "/^$1=/d" .env >.env.new
	say "$1=$2" >>.env.new
	mv .env.new .env
}
