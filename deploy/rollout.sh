#!/usr/bin/env bash
# Another version, a worker at a time: deploy/rollout.sh VERSION, and back: deploy/rollout.sh --back
# One worker of the new version takes its share of the units beside the old ones. If it is healthy after CANARY_S seconds and has set
# nothing aside, everything follows; if the whole then does not work, the version before is put back.
source "$(dirname "$0")/compose.sh"

unset TAG CANARY_TAG # .env says which runs; a variable would be stronger
PARTS=(worker history ingest gateway)

dead_letters() { compose exec -T gateway jetscan dead list --limit 10000 --json | grep -o '"letter"' | wc -l; }

remove_canary() { compose --profile canary rm --stop --force canary; }

put() { # VERSION
	into_env TAG "$1"
	compose up --detach --no-deps "${PARTS[@]}"
}

try_canary() { # VERSION
	local before after
	before=$(dead_letters)
	into_env CANARY_TAG "$1"
	compose --profile canary up --detach --no-deps --wait canary || return 1
	sleep "${CANARY_S:-60}"
	compose --profile canary ps --status running --format '{{.Health}}' canary | grep -q '^healthy' || return 1
	after=$(dead_letters)
	((after <= before)) || {
		say "canary: $((after - before)) frames were set aside: jetscan dead list"
		return 1
	}
	deploy/verify.sh
}

[[ $# == 1 ]] || fail "expected a version, or --back"
now=$(from_env TAG local)
if [[ $1 == --back ]]; then
	before=$(from_env TAG_BEFORE "")
	[[ -n $before ]] || fail "--back: expected TAG_BEFORE in .env, which a rollout writes"
	put "$before"
	deploy/verify.sh
	say "back at $before, was $now"
	exit
fi

new=$1
[[ $new != "$now" ]] || fail "$new: is what runs"
if [[ -n $(from_env IMAGE "${IMAGE:-}") ]]; then
	TAG=$new compose pull worker
else
	TAG=$new compose build worker
fi
# Tables and streams first: what a version adds to them, the one before leaves alone (docs/upgrade.md).
TAG=$new compose run --rm --no-deps migrate
TAG=$new compose run --rm --no-deps provision
if ! try_canary "$new"; then
	remove_canary
	fail "$new: the canary did not do; $now runs as before"
fi
put "$new"
if ! deploy/verify.sh; then
	put "$now"
	remove_canary
	deploy/verify.sh
	fail "$new: did not work as a whole; $now is back"
fi
into_env TAG_BEFORE "$now"
remove_canary
say "$new runs, was $now"
