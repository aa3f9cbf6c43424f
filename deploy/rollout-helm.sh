#!/usr/bin/env bash
# Another version in Kubernetes: deploy/rollout-helm.sh CHART VERSION VALUES
# A pod of the new version takes its share of the units beside the old ones of the deployment CANARY_OF. If it is ready and was not
# started again for CANARY_S seconds, the release is upgraded; if that does not become ready in TIMEOUT, or `helm test` fails, Helm puts
# the one before back. RELEASE and NAMESPACE say which. DIGEST pins the image (sha256:...); what VALUES say of tag and digest does not count.
set -euo pipefail

fail() {
	printf '%s: %s\n' "$0" "$*" >&2
	exit 1
}

[[ $# == 3 ]] || fail "expected CHART VERSION VALUES"
chart=$1 version=$2 values=$3
reference=:$version
[[ -z ${DIGEST:-} ]] || reference=@$DIGEST
release=${RELEASE:-jetscan} namespace=${NAMESPACE:-jetscan}
canary_of=${CANARY_OF:-$release-market} canary=${canary_of}-canary

kube() { kubectl --namespace "$namespace" "$@"; }

remove_canary() { kube delete deployment "$canary" --ignore-not-found; }

# The deployment with another image, name and label, and one replica: nothing that scales or serves the other knows it.
canary_from() { # DEPLOYMENT AS JSON
	jq --arg name "$canary" --arg reference "$reference" '
		{apiVersion, kind, metadata: {name: $name, labels: .metadata.labels}, spec}
		| .spec.replicas = 1
		| .spec.selector.matchLabels.canary = "true"
		| .spec.template.metadata.labels.canary = "true"
		| .spec.template.spec.containers[0].image |= sub("(@sha256:[0-9a-f]+|:[^:/]+)$"; "") + $reference' <<<"$1"
}

try_canary() {
	canary_from "$1" | kube apply --filename - &&
		kube rollout status deployment "$canary" --timeout "${TIMEOUT:-10m}" &&
		sleep "${CANARY_S:-60}" &&
		[[ $(kube get pods --selector canary=true --output jsonpath='{.items[*].status.containerStatuses[*].restartCount}') == 0 ]] &&
		kube rollout status deployment "$canary" --timeout 1s
}

deployed=$(kube get deployment "$canary_of" --ignore-not-found --output json)
if [[ -n $deployed ]]; then
	if ! try_canary "$deployed"; then
		kube logs --selector canary=true --tail 50 >&2 || true
		remove_canary
		fail "$version: the canary did not do; what ran runs as before"
	fi
	remove_canary
else
	printf '%s: no deployment %s, so there is nothing to stand a canary beside\n' "$0" "$canary_of"
fi
helm upgrade "$release" "$chart" --install --namespace "$namespace" --version "$version" --values "$values" \
	--set "image.tag=$version" --set "image.digest=${DIGEST:-}" --atomic --wait --wait-for-jobs --timeout "${TIMEOUT:-10m}"
if ! helm test "$release" --namespace "$namespace" --timeout "${TIMEOUT:-10m}"; then
	helm rollback "$release" --namespace "$namespace" --wait --timeout "${TIMEOUT:-10m}"
	fail "$version: helm test failed; the release before is back"
fi
