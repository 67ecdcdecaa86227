#!/usr/bin/env python3
"""Checks what deploy/ promises and no parser would notice: that the gateway is the only way to UCS.

It reads the files as Kubernetes and Compose would and contacts neither. Called by tests/run; the first argument is the program
kubernetes-validate, which compares each document with the schema of its kind."""

import pathlib
import subprocess
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
VALIDATE = sys.argv[1] if len(sys.argv) > 1 else None
faults = []


def expect(true, fault):
    if not true:
        faults.append(fault)


def check_kubernetes():
    for kustomization in sorted(DEPLOY.glob("kubernetes/*/kustomization.yaml")):
        built = subprocess.run(["kubectl", "kustomize", kustomization.parent], capture_output=True, text=True)
        if built.returncode != 0:
            faults.append(f"{kustomization}: {built.stderr}")
            continue
        if VALIDATE:
            validated = subprocess.run([VALIDATE, "--strict", "--quiet", "-"], input=built.stdout, capture_output=True, text=True)
            expect(validated.returncode == 0, f"{kustomization}: {validated.stdout}{validated.stderr}")
        if kustomization.parent.name == "one":
            check_one(list(yaml.safe_load_all(built.stdout)))


def check_one(objects):
    by_kind = lambda kind: [each for each in objects if each["kind"] == kind]
    [stateful_set] = by_kind("StatefulSet")
    pod = stateful_set["spec"]["template"]["spec"]
    labels = stateful_set["spec"]["template"]["metadata"]["labels"].items()
    gateway = next(each for each in pod["initContainers"] if each["name"] == "gateway")
    expect(gateway.get("restartPolicy") == "Always", "kubernetes: the gateway is no native sidecar")
    security = gateway["securityContext"]
    expect(security["readOnlyRootFilesystem"] and security["runAsNonRoot"], "kubernetes: the gateway is not confined")
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    for container in pod["containers"]:
        expect("ports" not in container, f"kubernetes: {container['name']} declares ports; only the gateway has any")
    for service in by_kind("Service"):
        expect(service["spec"]["selector"].items() <= labels, f"kubernetes: {service['metadata']['name']} selects no pod")
        for port in service["spec"]["ports"]:
            expect(port["targetPort"] in ports, f"kubernetes: a Service goes to {port['targetPort']}, not to the gateway")
    [policy] = by_kind("NetworkPolicy")
    expect(policy["spec"]["podSelector"]["matchLabels"].items() <= labels, "kubernetes: the policy selects no pod")
    for rule in policy["spec"]["ingress"]:
        for port in rule.get("ports") or [{"port": "everything"}]:
            expect(port["port"] in ports, f"kubernetes: the policy lets {port['port']} in, which is not the gateway's")
    environment = {variable["name"]: variable["value"] for variable in gateway["env"]}
    expect("UCS_GATEWAY_STOP_LINGER" in environment, "kubernetes: the gateway closes its port before the pod is left")
    expect("lifecycle" not in gateway, "kubernetes: the gateway has a hook, and nothing in its image to run one")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expect(gateway[probe]["httpGet"]["port"] == "admin", f"kubernetes: {probe} does not ask the admin port")
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in stateful_set["spec"]["volumeClaimTemplates"]}
    for mount in gateway["volumeMounts"]:
        expect(mount["name"] in volumes, f"kubernetes: there is no volume {mount['name']}")


def check_compose():
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    expect("ports" not in services["ucs"], "compose: UCS publishes a port")
    expect(services["ucs"].get("network_mode") == "service:gateway", "compose: UCS has a network of its own")
    expect(services["gateway"].get("read_only"), "compose: the gateway can write its root")


def check_alerts():
    """Each alert has a test in which it fires, and one in which it does not."""
    read = lambda name: yaml.safe_load((DEPLOY / "prometheus" / name).read_text())
    alerts = {rule["alert"] for group in read("alerts.yaml")["groups"] for rule in group["rules"]}
    tested = [case for test in read("alerts.test.yaml")["tests"] for case in test["alert_rule_test"]]
    for word, fires in (("fires", True), ("does not fire", False)):
        missing = alerts - {case["alertname"] for case in tested if bool(case["exp_alerts"]) == fires}
        expect(not missing, f"prometheus: no test in which it {word}: {sorted(missing)}")


for path in sorted(DEPLOY.rglob("*.yaml")):
    try:
        list(yaml.safe_load_all(path.read_text()))
    except yaml.YAMLError as error:
        faults.append(f"{path}: {error}")
if not faults:
    check_kubernetes()
    check_compose()
    check_alerts()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
