#!/usr/bin/env bash
# Brings docker-compose.nats.yaml up on this machine: secrets, servers, streams, tables, parts; then looks whether it works.
# Images are built here, unless IMAGE in .env names a registry's. More is brought up with COMPOSE_PROFILES=observe,tools.
source "$(dirname "$0")/compose.sh"

[[ -n $(from_env FEED "${FEED:-}") ]] ||
	fail "expected FEED in .env, a feed such as sim://?symbols=500&seed=7&warm=5m (docs/providers.md)"
deploy/secrets.sh
if [[ -n $(from_env IMAGE "${IMAGE:-}") ]]; then
	compose pull worker
else
	compose build worker
fi
compose up --detach --wait nats timescaledb redis
compose run --rm --no-deps provision
compose run --rm --no-deps migrate
compose up --detach
deploy/verify.sh
