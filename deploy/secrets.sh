#!/usr/bin/env bash
# Makes the secrets of docker-compose.nats.yaml, each once: what is there is kept.
set -euo pipefail

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# Containers read them as users of their own, so the files are open; the folder, which they never see, is closed.
chmod 700 "$folder"

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

keep() { # NAME VALUE
	[[ -e "$folder/$1" ]] && return
	printf '%s\n' "$2" >"$folder/$1.new"
	chmod 444 "$folder/$1.new"
	mv "$folder/$1.new" "$folder/$1"
	echo "made $folder/$1"
}

keep jwt_secret "$(random)"
keep grafana_password "$(random)"
keep postgres_password "$(random)"
keep database_url "postgresql://jetscan:$(<"$folder/postgres_password")@timescaledb:5432/jetscan"
keep redis_auth "requirepass $(random)"
redis_auth=$(<"$folder/redis_auth")
keep redis_url "redis://:${redis_auth#requirepass }@redis:6379"
