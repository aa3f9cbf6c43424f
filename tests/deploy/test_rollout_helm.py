"""rollout-helm.sh: a canary of the deployment that runs, then Helm; told to a kubectl and a Helm that only write down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")

DEPLOYED = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "jetscan-market", "uid": "7", "labels": {"app": "market"}},
    "spec": {
        "replicas": 4,
        "selector": {"matchLabels": {"app": "market"}},
        "template": {
            "metadata": {"labels": {"app": "market"}},
            "spec": {"containers": [{"name": "worker", "image": "ghcr.io:443/o/jetscan:1.0.0"}]},
        },
    },
    "status": {"replicas": 4},
}
KUBECTL = """\
#!/usr/bin/env bash
echo "kubectl ${*:3}" >>"$PLACE/calls"
case "$*" in
*"get deployment"*) [[ ! -f $PLACE/deployed.json ]] || cat "$PLACE/deployed.json" ;;
*apply*) cat >"$PLACE/canary.json" ;;
*"get pods"*) echo "${RESTARTS:-0}" ;;
esac
"""
HELM = """\
#!/usr/bin/env bash
echo "helm $*" >>"$PLACE/calls"
[[ $1 != "${FAILING:-}" ]]
"""


def rolled_out(
    place: Path, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    for name, text in (("kubectl", KUBECTL), ("helm", HELM)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / "deploy" / "rollout-helm.sh", "oci://registry.example/jetscan", "1.1.0", "v.yaml"],
        capture_output=True,
        text=True,
        env={
            "PATH": f"{place}:{os.environ['PATH']}",
            "PLACE": str(place),
            "CANARY_S": "0",
            **environment,
        },
    )
    told = [one.split() for one in (place / "calls").read_text().splitlines()]
    return done, [" ".join(one[: 2 if one[0] == "helm" else 3]) for one in told]


def upgrade(place: Path) -> list[str]:
    """The words with which Helm was told to upgrade."""
    (line,) = [
        one for one in (place / "calls").read_text().splitlines() if one.startswith("helm upgrade ")
    ]
    return line.split()


def test_a_canary_is_one_pod_of_the_new_version_that_is_removed_before_the_upgrade(
    tmp_path: Path,
) -> None:
    (tmp_path / "deployed.json").write_text(json.dumps(DEPLOYED))
    done, calls = rolled_out(tmp_path)
    assert done.returncode == 0, done.stderr
    canary = json.loads((tmp_path / "canary.json").read_text())
    assert canary["metadata"] == {"name": "jetscan-market-canary", "labels": {"app": "market"}}
    assert canary["spec"]["replicas"] == 1
    template = canary["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "ghcr.io:443/o/jetscan:1.1.0"
    labels = {"app": "market", "canary": "true"}
    assert canary["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"] == labels
    assert calls[-3:] == ["kubectl delete deployment", "helm upgrade", "helm test"]


@pytest.mark.parametrize(
    ("digest", "image"),
    [
        ("", "ghcr.io:443/o/jetscan:1.1.0"),
        ("sha256:" + "1" * 64, "ghcr.io:443/o/jetscan@sha256:" + "1" * 64),
    ],
)
def test_the_canary_and_the_release_are_of_one_image_whatever_the_values_pin(
    tmp_path: Path, digest: str, image: str
) -> None:
    (tmp_path / "deployed.json").write_text(
        json.dumps(DEPLOYED).replace(":1.0.0", "@sha256:" + "0" * 64)
    )
    done, _ = rolled_out(tmp_path, DIGEST=digest)
    assert done.returncode == 0, done.stderr
    canary = json.loads((tmp_path / "canary.json").read_text())
    assert canary["spec"]["template"]["spec"]["containers"][0]["image"] == image
    words = upgrade(tmp_path)
    assert words[2:4] == ["jetscan", "oci://registry.example/jetscan"]
    told = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert told == ["image.tag=1.1.0", f"image.digest={digest}"]
    assert {"--atomic", "--wait", "--wait-for-jobs"} <= set(words)


def test_a_canary_that_was_started_again_ends_the_rollout(tmp_path: Path) -> None:
    (tmp_path / "deployed.json").write_text(json.dumps(DEPLOYED))
    done, calls = rolled_out(tmp_path, RESTARTS="1")
    assert done.returncode == 1
    assert "what ran runs as before" in done.stderr
    assert calls[-1] == "kubectl delete deployment"
    assert "helm upgrade" not in calls


def test_a_release_that_does_not_pass_its_test_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "deployed.json").write_text(json.dumps(DEPLOYED))
    done, calls = rolled_out(tmp_path, FAILING="test")
    assert done.returncode == 1
    assert "the release before is back" in done.stderr
    assert calls[-3:] == ["helm upgrade", "helm test", "helm rollback"]


def test_a_first_release_needs_no_canary(tmp_path: Path) -> None:
    done, calls = rolled_out(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing to stand a canary beside" in done.stdout
    assert calls == ["kubectl get deployment", "helm upgrade", "helm test"]
