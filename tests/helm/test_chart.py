"""The Helm chart: what it renders is what Kubernetes takes, what the code says, and no wider than it has to be."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from runtime.config import FILES, PREFIX, Settings
from runtime.embedded import binary
from runtime.exports.helm_values import helm_values
from runtime.exports.nats_permissions import permissions_of
from runtime.exports.parts import RESERVED
from runtime.gateway.auth import host_allowed
from runtime.loader import Plan, load_plan
from runtime.provision import budget_of
from runtime.subjects import Subjects, load_subjects
from tests.conftest import ROOT
from tests.helm.readme import readme
from tests.helm.rendering import (
    CHART,
    SETS,
    Thing,
    containers,
    helm,
    named,
    of_ours,
    pods,
    refusal,
    rendered,
)
from tests.test_docs import command_faults

RELEASES = ["1.35", "1.36", "1.37"]
CRDS = {file.stem: json.loads(file.read_text()) for file in (ROOT / "tests/helm/crds").glob("*")}
FULL, EXTERNAL, SOURCE = "full-values.yaml", "external-values.yaml", "source-values.yaml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(ROOT / "functions", load_subjects(ROOT / "subjects.yaml"))


# -- what Kubernetes takes


def test_helm_finds_nothing_to_say_against_the_chart() -> None:
    done = helm("lint", "--strict", "--quiet", str(CHART))
    assert done.returncode == 0, done.stdout


def test_what_is_rendered_is_valid_in_the_last_three_releases() -> None:
    seen = {
        json.dumps(one, sort_keys=True): one for values in SETS for one in rendered(values)
    }.values()
    known = [one for one in seen if one["kind"] not in CRDS]
    assert len(known) > 100
    for one in known:
        kubernetes_validate.validate(one, RELEASES[-1], strict=True)
    for one in rendered(FULL):  # every kind there is; all sets in all releases take half a minute
        for release in RELEASES[:-1] if one["kind"] not in CRDS else ():
            kubernetes_validate.validate(one, release, strict=True)
    others = [one for one in seen if one["kind"] in CRDS]
    assert {one["kind"] for one in others} == set(CRDS)
    for one in others:
        jsonschema.validate(one, CRDS[one["kind"]])


@pytest.mark.parametrize("values", SETS)
def test_no_two_things_have_one_name_and_references_lead_somewhere(values: str) -> None:
    things = rendered(values)
    names = [(one["kind"], one["metadata"]["name"]) for one in things]
    assert len(names) == len(set(names))
    for name, spec in pods(things):
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {one["name"]: one for one in spec["volumes"]}
        claims = {"data"} if name.endswith("-nats") else set()
        for container in containers(spec):
            mounted = {one["name"] for one in container["volumeMounts"]}
            assert mounted <= set(volumes) | claims, name
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
    for one in things:
        if one["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
            target = named(things, "Deployment", one["metadata"]["name"].removeprefix("jetscan-"))
            assert "replicas" not in target["spec"], "the chart and the scaler would pull at it"


# -- what the code says


@pytest.mark.parametrize("values", SETS)
def test_every_command_and_setting_in_the_chart_exists(values: str) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in FILES}
    things = of_ours(rendered(values))
    assert len(things) >= 6
    for name, spec, container in things:
        assert spec["enableServiceLinks"] is False  # JETSCAN_PORT of a Service is no setting
        if "args" in container:
            assert list(command_faults(container["args"])) == [], name
        told = {one["name"] for one in container["env"] if one["name"].startswith(PREFIX)}
        assert told <= known, name
        for one in container["env"]:
            if one["name"].endswith("_FILE"):
                folder = str(Path(one["value"]).parent)
                assert folder in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_the_functions_of_the_values_are_those_of_the_code(plan: Plan, subjects: Subjects) -> None:
    told = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["functions"]
    defaults = told.pop("defaults")
    expected = helm_values(plan, subjects)["functions"]
    found = {
        name: {key: {**defaults, **values}[key] for key in expected.get(name, {})}
        for name, values in told.items()
    }
    assert found == expected


def test_the_permissions_in_the_chart_are_those_of_the_code(plan: Plan, subjects: Subjects) -> None:
    told = json.loads((CHART / "files/nats-permissions.json").read_text(encoding="utf-8"))
    assert told == permissions_of(plan, subjects), "make chart"


def test_the_readme_of_the_chart_is_generated_from_its_values() -> None:
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme(), "make chart"


@pytest.mark.parametrize(
    ("original", "copies"),
    [
        ("deploy/prometheus/rules.yml", ""),
        ("deploy/prometheus/probe.yml", ""),
        ("deploy/grafana/dashboards", "dashboards"),
    ],
)
def test_rules_and_dashboards_are_those_of_deploy(original: str, copies: str) -> None:
    place = ROOT / original
    if not place.exists():
        pytest.skip(f"{original} is not there")
    files = [place] if place.is_file() else sorted(place.glob("*.json"))
    folder = CHART / "files" / copies
    assert [(folder / one.name).read_text() for one in files] == [one.read_text() for one in files]


def rules_of(*words: str) -> dict[str, list[Thing]]:
    """Rules by group."""
    things = rendered("", "--set", "monitoring.prometheusRule=true", *words)
    return {one["name"]: one["rules"] for one in named(things, "PrometheusRule")["spec"]["groups"]}


def test_alarms_of_the_probe_are_for_who_has_one() -> None:
    with_probe = rules_of("--set", "probe.enabled=true")
    assert set(with_probe) - set(rules_of()) == {"jetscan.probe"}
    assert not any("probe" in one["expr"] for rules in rules_of().values() for one in rules)


def test_rules_leave_out_what_others_in_the_cluster_call_the_same() -> None:
    monitor = named(rendered("", "--set", "monitoring.podMonitor=true"), "PodMonitor")["metadata"]
    job = f'job="{monitor["namespace"]}/{monitor["name"]}"'
    told = [one["expr"] for rules in rules_of().values() for one in rules]
    shared = [expr for expr in told if re.search(r"\bup\b|http_requests_total", expr)]
    assert sorted(shared) == [
        f'sum(rate(http_requests_total{{{job},status=~"5.."}}[5m])) / sum(rate(http_requests_total{{{job}}}[5m]))',
        f"up{{{job}}} == 0",
    ]


# -- each part


def test_every_function_has_a_deployment_that_hosts_it_as_its_own_user() -> None:
    things = rendered()
    told = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["functions"]
    told.pop("defaults")
    for name, values in told.items():
        spec = named(things, "Deployment", name)["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["args"] == ["run", *values["hosts"], "--metrics-port", "9090"]
        (secret,) = [one["secret"] for one in spec["volumes"] if one["name"] == "nats"]
        assert secret["items"] == [{"key": name, "path": "password"}]
        has_database = any(one["name"] == "database" for one in spec["volumes"])
        assert has_database == values.get("database", False)


def test_a_function_comes_without_an_image(tmp_path: Path, subjects: Subjects) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        'from runtime import function\n\n\n@function(reads="ticks.trades")\nasync def mine(trades, http):\n    """Quote "this": {{ not a template }}."""\n'
    )
    things = rendered("", "--set-file", f"functions.mine.source={source}")
    spec = named(things, "Deployment", "mine")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][:2] == ["run", "mine"]
    (secret,) = [one["secret"] for one in spec["volumes"] if one["name"] == "nats"]
    assert secret["items"] == [{"key": "worker", "path": "password"}]
    text = named(things, "ConfigMap", "sources")["data"]["mine.py"]
    assert text == source.read_text()
    (tmp_path / "mine.py").write_text(text)
    assert [one.name for one in load_plan(tmp_path, subjects).functions] == ["mine"]
    for part in ("mine", "market", "gateway"):  # all know the same functions
        (one,) = named(things, "Deployment", part)["spec"]["template"]["spec"]["containers"]
        assert "/app/functions/mine.py" in [mount["mountPath"] for mount in one["volumeMounts"]]


def test_a_function_that_joins_a_chain_has_no_deployment_of_its_own() -> None:
    names = [one["metadata"]["name"] for one in rendered(SOURCE) if one["kind"] == "Deployment"]
    assert "jetscan-mine" in names
    assert "jetscan-plain-sink" in names
    assert "jetscan-helper" not in names
    assert "helper.py" in named(rendered(SOURCE), "ConfigMap", "sources")["data"]


def users(things: list[Thing], part: str) -> list[str]:
    """Who a part is to NATS."""
    spec = named(things, "Deployment", part)["spec"]["template"]["spec"]
    (secret,) = [one["secret"] for one in spec["volumes"] if one["name"] == "nats"]
    return [one["key"] for one in secret["items"]]


def test_who_hosts_code_that_the_permissions_do_not_know_is_worker() -> None:
    joined = ("--set", "functions.mine.source=x", "--set", "functions.mine.joins=market")
    assert users(rendered("", *joined), "market") == ["worker"]
    assert users(rendered("", *joined), "alerts") == ["alerts"]
    told = CHART / "files/nats-permissions.json"
    anew = rendered("", *joined, "--set-file", f"nats.permissions={told}")
    assert users(anew, "market") == ["market"]
    said = rendered("", *joined, "--set", "functions.market.natsUser=alerts")
    assert users(said, "market") == ["alerts"]


def test_without_a_database_there_is_no_part_that_needs_it() -> None:
    told = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["functions"]
    need = {name for name, values in told.items() if values.get("database")}
    assert need == {"history", "outcomes"}
    things = rendered("", "--set", "database.enabled=false")
    names = {one["metadata"]["name"].removeprefix("jetscan-") for one in things}
    assert not need & names
    assert {"market", "alerts", "notify", "gateway"} <= names
    assert not [v for _, spec in pods(things) for v in spec["volumes"] if v["name"] == "database"]


def test_names_of_other_parts_are_refused_as_the_code_does() -> None:
    text = (CHART / "templates/_helpers.tpl").read_text(encoding="utf-8")
    (listed,) = re.findall(r"if has \$name \(list ([^)]*)\)", text)
    told = re.findall(r'"(\w+)"', listed)
    assert {*told, "defaults"} == RESERVED


def test_a_setting_of_a_million_and_more_is_written_in_full(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "settings: {refresh_s: 1209600, linger_ms: 2.5, log_level: debug, token_in_url: true}\n"
        "functions: {history: {scaling: {lagMessages: 2500000}}}\n"
    )
    things = rendered("", "-f", str(values), "--set", "scaling.engine=keda")
    (one,) = named(things, "Deployment", "market")["spec"]["template"]["spec"]["containers"]
    environment = {row["name"].removeprefix(PREFIX): row.get("value") for row in one["env"]}
    assert environment["REFRESH_S"] == "1209600"
    assert environment["LINGER_MS"] == "2.5"
    assert environment["LOG_LEVEL"] == "debug"
    assert environment["TOKEN_IN_URL"] == "true"
    triggers = scaled(things, "ScaledObject")["jetscan-history"]["triggers"]
    assert {trigger["metadata"]["lagThreshold"] for trigger in triggers} == {"2500000"}


def test_nats_is_told_who_may_what_and_takes_it(tmp_path: Path) -> None:
    config = named(rendered(), "ConfigMap", "nats")["data"]["nats.conf"]
    spec = named(rendered(), "StatefulSet", "nats")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    users = json.loads((CHART / "files/nats-permissions.json").read_text())
    environment = {one["name"]: "p" + "0" * 20 for one in container["env"]} | {"POD_NAME": "a"}
    assert len(environment) == len(users) + 1
    file = tmp_path / "nats.conf"
    file.write_text(config.replace("store_dir: /data", f"store_dir: {tmp_path}"))
    command = [binary(), "-t", "-c", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    short = {**os.environ, **environment}
    short.pop("NATS_PASSWORD_MARKET")
    assert subprocess.run(command, capture_output=True, env=short).returncode != 0


WITH_NATS = [one for one in SETS if not one.startswith("external")]


@pytest.mark.parametrize("values", WITH_NATS)
def test_nats_has_room_for_every_stream_and_a_disk_larger_than_that(
    values: str, subjects: Subjects
) -> None:
    config = named(rendered(values), "ConfigMap", "nats")["data"]["nats.conf"]
    found = re.search(r"jetstream \{ store_dir: /data, max_file_store: (\d+)GB \}", config)
    assert found is not None
    room = int(found[1]) << 30  # GB are 2^30 to nats-server
    (claim,) = named(rendered(values), "StatefulSet", "nats")["spec"]["volumeClaimTemplates"]
    disk = re.fullmatch(r"(\d+)Gi", claim["spec"]["resources"]["requests"]["storage"])
    assert disk is not None
    assert budget_of(subjects).file_bytes <= room < int(disk[1]) << 30


def test_nats_is_started_again_when_anything_in_its_configuration_changes() -> None:
    def told(*words: str) -> str:
        template = named(rendered("", *words), "StatefulSet", "nats")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert told() == told("--set", "gateway.replicas=3")
    assert told() != told("--set", "nats.storage.jetstream=17GB")


# -- scaling


def scaled(things: list[Thing], kind: str) -> dict[str, Thing]:
    return {one["metadata"]["name"]: one["spec"] for one in things if one["kind"] == kind}


def test_keda_scales_where_the_cluster_knows_it_and_an_hpa_where_not() -> None:
    plain, keda = rendered(), rendered("", "--api-versions", "keda.sh/v1alpha1")
    assert scaled(plain, "ScaledObject") == {}
    names = {"jetscan-market", "jetscan-history", "jetscan-outcomes"}
    assert set(scaled(plain, "HorizontalPodAutoscaler")) == names | {"jetscan-gateway"}
    assert set(scaled(keda, "ScaledObject")) == names
    assert set(scaled(keda, "HorizontalPodAutoscaler")) == {"jetscan-gateway"}


def test_sinks_scale_to_zero_by_the_lag_of_each_of_their_consumers() -> None:
    spec = scaled(rendered(FULL), "ScaledObject")["jetscan-history"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 2)
    lag = [one["metadata"] for one in spec["triggers"] if one["type"] == "nats-jetstream"]
    assert [(one["stream"], one["consumer"]) for one in lag] == [
        ("BARS", "sink-keeps_bars"),
        ("MARKET", "sink-keeps_days"),
        ("ALERTS", "sink-keeps_alerts"),
        ("ALERTS", "sink-keeps_deliveries"),
    ]
    assert {one["natsServerMonitoringEndpoint"] for one in lag} == {"jetscan-nats.market.svc:8222"}


def test_the_market_scales_by_the_gateways_figure_and_is_warm_before_the_open() -> None:
    spec = scaled(rendered(FULL), "ScaledObject")["jetscan-market"]
    figure, cron = spec["triggers"]
    service = named(rendered(FULL), "Service", "gateway")
    address = f"http://{service['metadata']['name']}.market.svc.cluster.local:{service['spec']['ports'][0]['port']}"
    assert figure["metadata"]["url"] == f"{address}/scaling"
    assert figure["metadata"]["valueLocation"] == "chains.market.desired"
    (gateway,) = named(rendered(FULL), "Deployment", "gateway")["spec"]["template"]["spec"][
        "containers"
    ]
    told = {one["name"]: one["value"] for one in gateway["env"]}
    limits = (told["JETSCAN_WORKERS_MIN"], told["JETSCAN_WORKERS_MAX"])
    assert limits == (str(spec["minReplicaCount"]), str(spec["maxReplicaCount"]))
    assert cron["metadata"]["timezone"] == "America/New_York"
    assert int(cron["metadata"]["desiredReplicas"]) == 4


def test_a_gateway_of_local_mode_answers_the_address_that_keda_asks() -> None:
    spec = scaled(rendered(FULL), "ScaledObject")["jetscan-market"]
    host = urlsplit(spec["triggers"][0]["metadata"]["url"]).netloc
    assert host_allowed(Settings(mode="local"), host)


def test_the_figure_is_that_of_the_chain_hosted_whatever_its_deployment_is_called() -> None:
    words = "functions.second.hosts={market},functions.second.scaling.enabled=true,functions.second.scaling.trigger=desired"
    things = rendered("", "--set", words, "--set", "scaling.engine=keda")
    (figure,) = scaled(things, "ScaledObject")["jetscan-second"]["triggers"]
    assert figure["metadata"]["valueLocation"] == "chains.market.desired"


def test_lag_of_a_chain_is_that_of_all_its_partitions() -> None:
    spec = scaled(rendered("external-keda-values.yaml"), "ScaledObject")["jetscan-market"]
    told = [one["metadata"] for one in spec["triggers"]]
    assert [one["consumer"] for one in told] == [f"market-{one}" for one in range(8)]
    assert {one["account"] for one in told} == {"SCANNER"}


# -- closed


@pytest.mark.parametrize("values", SETS)
def test_pods_are_restricted_and_may_not_ask_the_cluster(values: str) -> None:
    for name, spec in pods(rendered(values)):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for one in containers(spec):
            assert one["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert one["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert set(one["resources"]) == {"requests", "limits"}, name


@pytest.mark.parametrize("values", [one for one in SETS if one != SOURCE])
def test_every_pod_has_a_policy_and_goes_where_it_must(values: str) -> None:
    things = rendered(values)
    policies = [one["spec"] for one in things if one["kind"] == "NetworkPolicy"]
    for name, labels in components(things).items():
        (policy,) = [p for p in policies if matches(p["podSelector"]["matchLabels"], labels)]
        assert policy["policyTypes"] == ["Ingress", "Egress"], name
    market = ports_out(named(things, "NetworkPolicy", "market"))
    assert 5432 not in market
    assert 443 not in market
    assert 443 in ports_out(named(things, "NetworkPolicy", "notify"))


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://collector.observe:4319", 4319),
        ("http://10.0.0.1:4318/otlp", 4318),
        ("http://10.0.0.1", 80),
        ("https://collector.example/otlp", 443),
    ],
)
def test_traces_reach_their_collector(url: str, port: int) -> None:
    things = rendered(
        "", "--set", f"settings.otlp_url={url},ingest.enabled=true,ingest.feeds={{x}}"
    )
    told = {name: named(things, "NetworkPolicy", name) for name in TRACED_PARTS}
    assert {name for name, policy in told.items() if port in ports_out(policy)} == TRACED_PARTS
    assert port not in ports_out(named(things, "NetworkPolicy", "migrate"))


TRACED_PARTS = {
    "market",
    "alerts",
    "toplists",
    "history",
    "notify",
    "outcomes",
    "ingest",
    "gateway",
}


def test_the_test_of_a_release_reaches_what_it_asks() -> None:
    for values in ("", FULL):
        things = rendered(values)
        spec = named(things, "Pod", "test")
        policy = named(things, "NetworkPolicy", "provision")["spec"]
        assert matches(policy["podSelector"]["matchLabels"], spec["metadata"]["labels"])
        (checking,) = spec["spec"]["containers"]
        assert checking["args"][:2] == ["provision", "--check"]  # --dry-run fails for nothing new
        (asking,) = spec["spec"]["initContainers"]
        service = named(things, "Service", "gateway")
        assert f"http://{service['metadata']['name']}:8090/ready" in asking["command"][-1]
        gateway = named(things, "NetworkPolicy", "gateway")["spec"]
        out = [rule for rule in policy["egress"] if {"port": 8090} in rule["ports"]]
        assert out[0]["to"][0]["podSelector"] == gateway["podSelector"]
        into = [peer for rule in gateway["ingress"] for peer in rule.get("from", [])]
        assert not into or {"podSelector": policy["podSelector"]} in into


def components(things: list[Thing]) -> dict[str, dict[str, str]]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in things
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def matches(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    return wanted.items() <= labels.items()


def ports_out(policy: Thing) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_nothing_secret_is_in_what_is_rendered_with_external_services() -> None:
    assert [one for one in rendered(EXTERNAL) if one["kind"] == "Secret"] == []


# -- set up and served


def test_jobs_come_before_what_needs_them() -> None:
    external = rendered(EXTERNAL)
    for name in ("migrate", "provision"):
        hook = named(external, "Job", name)["metadata"]["annotations"]
        assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
    account = named(external, "ServiceAccount", "setup")["metadata"]["annotations"]
    assert int(account["helm.sh/hook-weight"]) < int(hook["helm.sh/hook-weight"])
    ours = named(rendered(), "Job", "provision-1")  # its NATS comes with the rest: no hook
    assert "annotations" not in ours["metadata"]
    (container,) = ours["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["provision", "--replicas", "3"]


def test_a_websocket_lives_as_long_as_proxies_let_it_and_tls_ends_at_the_ingress() -> None:
    ingress = named(rendered(FULL), "Ingress")
    told = ingress["metadata"]["annotations"]
    assert told["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    assert ingress["spec"]["tls"] == [{"hosts": ["jetscan.example"], "secretName": "jetscan-tls"}]
    (gateway,) = named(rendered(FULL), "Deployment", "gateway")["spec"]["template"]["spec"][
        "containers"
    ]
    environment = {one["name"]: one["value"] for one in gateway["env"]}
    assert environment["JETSCAN_PUBLIC_URL"] == "https://jetscan.example"
    assert environment["JETSCAN_MODE"] == "production"


def test_a_worker_has_longer_to_hand_over_than_it_takes() -> None:
    for name, spec, container in of_ours(rendered()):
        drain_s = (
            container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        )
        assert spec["terminationGracePeriodSeconds"] >= drain_s + 8 + 10, name


# -- values that are wrong


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--set functions.market.replica=2", "Additional property replica is not allowed"),
        ("--set market=1", "Additional property market is not allowed"),
        ("--set image.tag=latest", "image.tag"),
        ("--set settings.database_url=x", "settings"),
        ("--set nats.url=nats://u:p@host:4222", "nats.url"),
        (
            "--set functions.market.scaling.min=0",
            "functions.market.scaling.min: expected at least 1",
        ),
        ("--set functions.market.scaling.max=9", "expected at most its 8 partitions, found 9"),
        (
            "--set functions.history.scaling.min=3",
            "functions.history.scaling.max: expected at least",
        ),
        ("--set functions.gateway.replicas=1", "functions.gateway: expected another name"),
        ("--set functions.operator.replicas=1", "functions.operator: expected another name"),
        (
            "--set functions.mine.joins=nowhere",
            "functions.mine.joins: expected a Deployment, one of alerts, history, market, notify, outcomes, toplists, found nowhere",
        ),
        ("--set nats.storage.jetstream=12Gi", "nats.storage.jetstream"),
        ("--set functions.market.natsUser=x", "functions.market.natsUser: expected one of alerts"),
        ("--set nats.enabled=false", "nats.url: expected the address"),
        (
            "--set nats.enabled=false,nats.url=nats://h:4222",
            "nats.existingSecret: expected a Secret",
        ),
        ("--set nats.replicas=1", "provision.replicas: expected at most the 1 servers"),
        ("--set ingest.enabled=true", "ingest.feeds: expected at least one address"),
        ("--kube-version 1.29.0", "chart requires kubeVersion"),
    ],
)
def test_a_mistake_in_the_values_says_what_was_expected(words: str, says: str) -> None:
    assert says in refusal(*words.split())
