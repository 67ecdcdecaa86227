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
        if kustomization.parent.name == "fleet":
            check_fleet(list(yaml.safe_load_all(built.stdout)))


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


def check_fleet(objects):
    named = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in objects}
    members, job, etcd = named["StatefulSet", "ucs"], named["Job", "ucs-fleet-init"], named["StatefulSet", "ucs-etcd"]
    gateway = next(each for each in members["template"]["spec"]["initContainers"] if each["name"] == "gateway")
    environment = {variable["name"]: variable for variable in gateway["env"]}
    store = environment["UCS_GATEWAY_STORE"]["value"]
    node = environment["UCS_GATEWAY_NODE"].get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
    expect(node == "metadata.name", "fleet: a member's name is not that of its pod, which keeps its volume")
    expect(members["replicas"] == 3 and members["volumeClaimTemplates"], "fleet: three members with a state each")
    arguments = job["template"]["spec"]["containers"][0]["args"]
    expect(f"--store={store}" in arguments, "fleet: the Job makes another fleet than that of the members")
    hosts = [f"ucs-etcd-{number}.{etcd['serviceName']}:2379" for number in range(etcd["replicas"])]
    expect(store == f"etcd://{','.join(hosts)}/ucs", f"fleet: {store} are not the nodes of etcd")
    expect(etcd["replicas"] % 2 == 1, "fleet: an even number of nodes survives no more than one less")
    labels = etcd["template"]["metadata"]["labels"].items()
    expect(named["NetworkPolicy", "ucs-etcd"]["podSelector"]["matchLabels"].items() <= labels, "fleet: etcd is open to all")


def check_compose_fleet():
    services = yaml.safe_load((DEPLOY / "compose/fleet.yaml").read_text())["services"]
    gateways = {name: each for name, each in services.items() if name.startswith("gateway-")}
    nodes = {each["environment"]["UCS_GATEWAY_NODE"] for each in gateways.values()}
    stores = {each["environment"]["UCS_GATEWAY_STORE"] for each in gateways.values()}
    states = {volume for each in gateways.values() for volume in each["volumes"] if volume.startswith("state-")}
    expect(len(gateways) == len(nodes) == len(states) == 3, "compose: each member has a name and a state of its own")
    expect(stores == {services["fleet-init"]["command"][1].removeprefix("--store=")}, "compose: the fleet is another one")
    for name in gateways:
        ucs = services[name.replace("gateway", "ucs")]
        expect("ports" not in ucs and ucs["network_mode"] == f"service:{name}", f"compose: a UCS is not behind {name}")


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
    check_compose_fleet()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
