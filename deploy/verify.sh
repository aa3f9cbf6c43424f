#!/usr/bin/env bash
# Whether a deployment works: the gateway, streams, tables, workers, and data that moves. Each is tried 10 times, every 2 seconds.
# JETSCAN says how `jetscan` is run, GATEWAY where the gateway answers, TRIES how often to look.
source "$(dirname "$0")/compose.sh"

gateway=${GATEWAY:-http://127.0.0.1:8090}

ask() {
	if [[ -n ${JETSCAN:-} ]]; then
		$JETSCAN "$@"
	else
		compose exec -T gateway jetscan "$@"
	fi
}

gateway_is_ready() { curl --fail --silent --max-time 3 "$gateway/ready"; }

streams_are_as_written() { ask provision --check; }

tables_are_newest() {
	local pending
	pending=$(ask migrate --dry-run --json) && say "pending: $pending" && [[ $pending == "[]" ]]
}

every_unit_is_hosted() {
	local units hosted
	units=$(ask check | sed -n 's/^chain .* (\([0-9]*\)): .*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }')
	hosted=$(ask lag --json | grep -o '"unit"' | wc -l)
	say "$hosted of $units units"
	((units > 0 && hosted == units))
}

# Event time as the gateway hears it from the workers; that of a feed moves also when nothing trades.
newest_event() { curl --fail --silent --max-time 3 "$gateway/stats" | sed -n 's/.*"NewestEvent":"\([^"]*\)".*/\1/p'; }

data_moves() {
	local before after
	before=$(newest_event)
	sleep 2
	after=$(newest_event)
	say "from ${before:-never} to ${after:-never}"
	[[ $after > $before ]]
}

for check in gateway_is_ready streams_are_as_written tables_are_newest every_unit_is_hosted data_moves; do
	for ((try = ${TRIES:-10}; ; try--)); do
		told=$($check 2>&1) && break
		((try > 1)) || fail "${check//_/ }: no; ${told:-nothing was answered}"
		sleep 2
	done
	say "ok  ${check//_/ }"
done
