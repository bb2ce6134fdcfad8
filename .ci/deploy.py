#!/usr/bin/env python3
"""Checks what refers to what in deploy/: no schema sees a Service that selects nothing or a data source that is not there.

usage: deploy.py <rendered Kubernetes manifests>. Prints every finding, then fails.
"""
import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
FINDINGS = []


def expect(holds, what):
    if not holds:
        FINDINGS.append(what)


def kubernetes(path):
    objects = [o for o in yaml.safe_load_all(path.read_text()) if o]
    of = lambda kind: {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}
    for o in objects:
        expect("namespace" not in o["metadata"], f"{o['kind']} {o['metadata']['name']}: names a namespace")
    sets, services = of("StatefulSet"), of("Service")
    expect(list(sets) == ["trine"], f"one StatefulSet `trine`, not {list(sets)}")
    spec = sets["trine"]["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    [container] = pod["containers"]
    ports = {p["name"]: (p["containerPort"], p.get("protocol", "TCP")) for p in container["ports"]}
    selects = lambda selector: selector and selector.items() <= labels.items()

    expect(spec["replicas"] >= 3, "three replicas or more")
    expect(spec["podManagementPolicy"] == "Parallel", "pods start in parallel: one alone never becomes ready")
    expect(selects(spec["selector"]["matchLabels"]), "the StatefulSet selects its own pods")
    headless = services.get(spec["serviceName"])
    expect(headless is not None, f"Service {spec['serviceName']} of the StatefulSet is there")
    expect(headless and headless["spec"].get("clusterIP") == "None", "the StatefulSet's Service is headless")
    expect(headless and headless["spec"].get("publishNotReadyAddresses"), "pods find each other before they are ready")
    for name, service in services.items():
        expect(selects(service["spec"]["selector"]), f"Service {name} selects the pods")
        for port in service["spec"]["ports"]:
            target = ports.get(port["targetPort"])
            expect(target is not None, f"Service {name}: no container port {port['targetPort']}")
            expect(target == (port["port"], port.get("protocol", "TCP")), f"Service {name}: {port['name']} keeps its number")
    expect(pod["serviceAccountName"] in of("ServiceAccount"), "the service account is there")
    budgets = of("PodDisruptionBudget")
    expect(len(budgets) == 1, "one PodDisruptionBudget")
    for name, budget in budgets.items():
        expect(budget["spec"].get("maxUnavailable") == 1, f"PodDisruptionBudget {name}: one pod at a time")
        expect(selects(budget["spec"]["selector"]["matchLabels"]), f"PodDisruptionBudget {name} selects the pods")

    for probe, page in [("startupProbe", "/-/healthy"), ("livenessProbe", "/-/healthy"), ("readinessProbe", "/ready")]:
        get = container[probe]["httpGet"]
        expect(get["path"] == page and get["port"] in ports, f"{probe}: {page} on a port of the container")
    expect(pod["terminationGracePeriodSeconds"] >= 60, "time to hand over leaders")
    expect(pod["securityContext"]["runAsNonRoot"], "not as root")
    expect(container["securityContext"]["readOnlyRootFilesystem"], "a read-only root file system")
    expect(container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"], "memory is reserved")
    spread = {c["topologyKey"] for c in pod["topologySpreadConstraints"]}
    expect("topology.kubernetes.io/zone" in spread, "pods are spread over zones")

    volumes = {v["name"]: v for v in pod["volumes"]}
    claims = {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    expect(set(mounts) == set(volumes) | claims, "what is mounted is what there is")
    config = of("ConfigMap").get(volumes["config"]["configMap"]["name"])
    expect(config is not None, "the ConfigMap that the pods mount is rendered")
    source = (ROOT / "deploy/kubernetes/trine.toml").read_text()
    expect(config and config["data"]["trine.toml"] == source, "the ConfigMap is deploy/kubernetes/trine.toml")
    expect(f"--config={mounts['config']}/trine.toml" in container["args"], "the node reads what is mounted")
    secrets = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})]
    expect([(s["name"], s["key"]) for s in secrets] == [("trine-cluster-key", "key")], "the cluster key is a Secret's")
    advertise = [a for a in container["args"] if a.startswith("--advertise=")]
    expect(advertise and f".{spec['serviceName']}." in advertise[0], "pods advertise their stable name")


def grafana(folder):
    for path in sorted(folder.glob("datasources/*.yaml")):
        document = yaml.safe_load(path.read_text())
        sources = document["datasources"]
        uids = {s["uid"]: s["type"] for s in sources}
        expect(sorted(uids.values()) == ["loki", "prometheus", "tempo"], f"{path.name}: one source of each kind")
        links = {
            "prometheus": [("exemplarTraceIdDestinations", "tempo")],
            "loki": [("derivedFields", "tempo")],
            "tempo": [("tracesToLogsV2", "loki"), ("tracesToMetrics", "prometheus")],
        }
        for source in sources:
            for key, kind in links[source["type"]]:
                found = source["jsonData"].get(key)
                found = found if isinstance(found, list) else [found]
                expect(found and all(f and uids.get(f["datasourceUid"]) == kind for f in found), f"{path.name}: {key}")
            expect(source["jsonData"]["httpHeaderName1"] == "X-Scope-OrgID", f"{path.name}: {source['uid']} names a tenant")


def compose(path):
    document = yaml.safe_load(path.read_text())
    published, names = [], set(document["services"])
    for name, service in document["services"].items():
        build = service.get("build")
        if build:
            context = (path.parent / build["context"]).resolve()
            expect(context == ROOT, f"compose {name}: builds from the root of the repository")
            expect((context / build["dockerfile"]).is_file(), f"compose {name}: its Dockerfile is there")
        for volume in service.get("volumes", []):
            origin = volume.split(":")[0]
            known = (path.parent / origin).exists() if origin.startswith(".") else origin in document["volumes"]
            expect(known, f"compose {name}: volume {origin} is there")
        published += [p.split(":")[0] for p in service.get("ports", [])]
        expect(set(service.get("depends_on", [])) <= names, f"compose {name}: what it depends on is there")
        joined = service.get("environment", {}).get("TRINE__CLUSTER__JOIN", "[]")
        hosts = {address.split(":")[0] for address in yaml.safe_load(joined)}
        expect(hosts <= names, f"compose {name}: joins {hosts}")
    expect(len(published) == len(set(published)), f"compose: a port is published twice: {sorted(published)}")
    expect(len([n for n in names if n.startswith("trine")]) == 3, "compose: three nodes")


def dockerfile(path):
    lines = path.read_text().splitlines()
    stages = [l.split()[1] for l in lines if l.startswith("FROM ")]
    expect(len(stages) == 2, "Dockerfile: built in one stage, run in another")
    users = [l.split()[1] for l in lines if l.startswith("USER ")]
    expect(users and users[-1] == "10001:10001", "Dockerfile: ends as the user that the pods run as")


if __name__ == "__main__":
    kubernetes(pathlib.Path(sys.argv[1]))
    grafana(ROOT / "deploy/grafana/provisioning")
    compose(ROOT / "deploy/compose/docker-compose.yml")
    dockerfile(ROOT / "deploy/docker/Dockerfile")
    for finding in FINDINGS:
        print(f"deploy: does not hold: {finding}", file=sys.stderr)
    sys.exit(1 if FINDINGS else 0)
