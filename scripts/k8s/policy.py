"""What manifests must hold beyond their schemas. Pure: documents in, findings out, a line each.

Pods are as restricted as Pod Security's "restricted", and read-only. What has to fit together does: grace periods and
drains, memory and what is configured to fill it, time-outs on the way in and the age of sessions, network policies and
flows. Secrets are references only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Document = dict
MIB, GIB = 1 << 20, 1 << 30
# docs/OPERATIONS.md, Sizing and The broker: measured, rounded up.
INGEST_BASE, INGEST_CONNECTION, KERNEL = 32 * MIB, 24 << 10, 64 * MIB
NOTIFIER_BASE, NOTIFIER_READER, NOTIFIER_QUERY, NOTIFIER_SESSION = 64 * MIB, 3 * MIB, 12 * MIB, 4 << 10
# A session that does not read, with the kernel's part; at least one in so many shall have its room.
NOTIFIER_STUCK, STUCK_ONE_IN = 640 << 10, 100
EVENT_BYTES, EVENT_MEMORY, BROKER_BASE = 1300, 700, 512 * MIB
REJECTED_BYTES = 256 * MIB
# After the drain has ended, for what is left to do.
SLACK_SECONDS = 5
# ingest's limit to a whole body, in seconds.
BODY_SECONDS = 120
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOOKS = {"/api/hook", "/api/mandrill/hook"}
# The containers that are ours.
SERVICES = {"ingest", "notifier", "setup"}
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|KEYS?|CREDS|NKEY|TOKEN)$")
UNITS = {"": 1, "Ki": 1 << 10, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "K": 1000, "M": 10**6, "G": 10**9,
         "KiB": 1 << 10, "MiB": MIB, "GiB": GIB, "KB": 1 << 10, "MB": MIB, "GB": GIB, "k": 1 << 10, "m": MIB, "g": GIB}
SPANS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def findings(documents: list[Document]) -> list[str]:
    """Everything that does not hold."""
    world = World(documents)
    return [finding for rule in RULES for finding in rule(world)]


class World:
    """The documents, and what is looked up in them."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents
        self.configs = {one["metadata"]["name"]: one.get("data", {}) for one in self.of("ConfigMap")}

    def of(self, *kinds: str) -> list[Document]:
        return [one for one in self.documents if one["kind"] in kinds]

    def workloads(self) -> list[Document]:
        return self.of("Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob", "Pod")

    def named(self, kind: str, name: str) -> Document | None:
        return next((one for one in self.of(kind) if one["metadata"]["name"] == name), None)

    def variables(self, workload: Document) -> dict[str, str]:
        """A workload's environment as far as it stands in the manifests."""
        values: dict[str, str] = {}
        for container in pod(workload).get("containers", []):
            for source in container.get("envFrom", []):
                values |= self.configs.get(source.get("configMapRef", {}).get("name"), {})
            values |= {one["name"]: one.get("value", "") for one in container.get("env", [])}
        return values


def pod(workload: Document) -> dict:
    return workload["spec"] if workload["kind"] == "Pod" else workload["spec"]["template"]["spec"]


def containers(workload: Document) -> list[dict]:
    spec = pod(workload)
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def title(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def size(text: object) -> int:
    number, unit = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", str(text)).groups()
    return int(float(number) * UNITS[unit])


def span(text: object) -> int:
    number, unit = re.fullmatch(r"([0-9]+)([a-z]*)", str(text)).groups()
    return int(number) * SPANS[unit]


def memory(workload: Document) -> int:
    return size(pod(workload)["containers"][0].get("resources", {}).get("limits", {}).get("memory", 0))


def restricted(world: World) -> Iterator[str]:
    for workload in world.workloads():
        spec, name = pod(workload), title(workload)
        security = spec.get("securityContext", {})
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield f"{name}: {field} is not allowed"
        if security.get("sysctls"):
            yield f"{name}: sysctls are not allowed"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: automountServiceAccountToken must be false"
        if spec.get("serviceAccountName", "default") == "default":
            yield f"{name}: must have a service account of its own"
        for volume in spec.get("volumes", []):
            if not VOLUMES & volume.keys():
                yield f"{name}: volume {volume['name']} is of a kind that is not allowed"
        for container in containers(workload):
            yield from restricted_container(f"{name}, {container['name']}", container, security)


def restricted_container(name: str, container: dict, of_pod: dict) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("privileged") or own.get("procMount", "Default") != "Default":
        yield f"{name}: privileged or with another procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation must be false"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or capabilities.get("add"):
        yield f"{name}: must drop ALL capabilities and add none"
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot must be true"
    if not own.get("runAsUser", of_pod.get("runAsUser")):
        yield f"{name}: runAsUser must be a number that is not 0"
    profile = own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile must be RuntimeDefault"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: readOnlyRootFilesystem must be true"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name}: hostPort is not allowed"


def images(world: World) -> Iterator[str]:
    for workload in world.workloads():
        for container in containers(workload):
            image = container["image"]
            tag = image.rsplit("/", 1)[-1].partition(":")[2]
            if "@sha256:" not in image and tag in ("", "latest"):
                yield f"{title(workload)}, {container['name']}: image {image} has no fixed tag"


def resources(world: World) -> Iterator[str]:
    for workload in world.workloads():
        for container in containers(workload):
            given = container.get("resources", {})
            if "memory" not in given.get("limits", {}):
                yield f"{title(workload)}, {container['name']}: has no memory limit"
            if {"cpu", "memory"} - given.get("requests", {}).keys():
                yield f"{title(workload)}, {container['name']}: requests neither or only one of cpu and memory"


def probes(world: World) -> Iterator[str]:
    for workload in world.of("Deployment", "StatefulSet"):
        for container in pod(workload)["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{title(workload)}, {container['name']}: has no {probe}"
            path = container.get("livenessProbe", {}).get("httpGet", {}).get("path")
            if path == "/readyz":
                yield f"{title(workload)}, {container['name']}: liveness must not ask /readyz, which asks the broker"


def drains(world: World) -> Iterator[str]:
    for workload in world.of("Deployment"):
        drain = world.variables(workload).get("DRAIN_SECONDS")
        if drain is None:
            yield f"{title(workload)}: DRAIN_SECONDS is not set"
            continue
        pause = pod(workload)["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = pause + span(drain) + SLACK_SECONDS
        grace = pod(workload).get("terminationGracePeriodSeconds", 30)
        if grace < needed:
            yield f"{title(workload)}: terminationGracePeriodSeconds {grace} is less than preStop, DRAIN_SECONDS and {SLACK_SECONDS}: {needed}"
        if pause == 0:
            yield f"{title(workload)}: has no preStop pause, so requests reach it after it has stopped listening"
        update = workload["spec"].get("strategy", {}).get("rollingUpdate", {})
        if update.get("maxUnavailable") != 0:
            yield f"{title(workload)}: maxUnavailable must be 0"


def scaling(world: World) -> Iterator[str]:
    for scaler in world.of("HorizontalPodAutoscaler"):
        workload = world.named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        if workload is None:
            yield f"{title(scaler)}: scales a Deployment that is not there"
            continue
        if "replicas" in workload["spec"]:
            yield f"{title(workload)}: sets replicas, which are its autoscaler's"
        drain = span(world.variables(workload).get("DRAIN_SECONDS", 0))
        policies = scaler["spec"].get("behavior", {}).get("scaleDown", {}).get("policies", [])
        slow = [one for one in policies if one["type"] == "Pods" and one["value"] == 1 and one["periodSeconds"] > drain]
        if not policies or slow != policies:
            yield f"{title(scaler)}: must take away one pod at a time, each later than a drain of {drain} s"
    for workload in world.of("Deployment", "StatefulSet"):
        labels = workload["spec"]["selector"]["matchLabels"]
        budgets = [one for one in world.of("PodDisruptionBudget") if one["spec"]["selector"]["matchLabels"] == labels]
        if not budgets:
            yield f"{title(workload)}: has no PodDisruptionBudget"
        if not pod(workload).get("topologySpreadConstraints"):
            yield f"{title(workload)}: is not spread over nodes"
    for service in world.of("Service"):
        if service["spec"].get("sessionAffinity", "None") != "None":
            yield f"{title(service)}: sessions go on at any replica, sessionAffinity only makes load uneven"


def sizes(world: World) -> Iterator[str]:
    if ingest := world.named("Deployment", "ingest"):
        values = world.variables(ingest)
        needed = (INGEST_BASE + INGEST_CONNECTION * int(values["MAX_CONNECTIONS"])
                  + 2 * size(values["MAX_INFLIGHT_BYTES"]) + KERNEL)
        if memory(ingest) < needed:
            yield f"{title(ingest)}: its memory limit is less than its configuration needs: {needed // MIB} MiB"
        if size(values["MAX_INFLIGHT_BYTES"]) < size(values["MAX_BODY_BYTES"]):
            yield f"{title(ingest)}: MAX_INFLIGHT_BYTES does not hold a body of MAX_BODY_BYTES"
    if notifier := world.named("Deployment", "notifier"):
        values = world.variables(notifier)
        sessions = int(values["MAX_SESSIONS"])
        needed = (NOTIFIER_BASE + size(values["RING_BYTES"]) * 5 // 4
                  + NOTIFIER_READER * int(values["CATCHUP_READERS"]) + NOTIFIER_QUERY * int(values["MAX_QUERIES"])
                  + NOTIFIER_SESSION * sessions + NOTIFIER_STUCK * sessions // STUCK_ONE_IN)
        if memory(notifier) < needed:
            yield f"{title(notifier)}: its memory limit is less than its configuration needs: {needed // MIB} MiB"
    yield from broker_sizes(world)


def broker_sizes(world: World) -> Iterator[str]:
    broker, setup = world.named("StatefulSet", "nats"), world.named("Job", "setup")
    if broker is None or setup is None:
        return
    values, stream = world.variables(broker), world.variables(setup)
    events = size(stream["STREAM_MAX_BYTES"])
    needed = BROKER_BASE + events * EVENT_MEMORY // EVENT_BYTES
    limit = memory(broker)
    if limit < needed:
        yield f"{title(broker)}: its memory limit is less than STREAM_MAX_BYTES needs: {needed // MIB} MiB"
    if not 0.7 * limit <= size(values.get("GOMEMLIMIT", 0)) <= 0.9 * limit:
        yield f"{title(broker)}: GOMEMLIMIT must be 70 to 90 % of the memory limit"
    store = size(values["MAX_FILE_STORE"])
    if store < events + REJECTED_BYTES:
        yield f"{title(broker)}: MAX_FILE_STORE does not hold STREAM_MAX_BYTES and rejected content"
    claim = broker["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    if size(claim) <= store:
        yield f"{title(broker)}: its volume must be larger than MAX_FILE_STORE"
    replicas, copies = broker["spec"]["replicas"], int(stream["STREAM_REPLICAS"])
    if copies > replicas:
        yield f"{title(setup)}: STREAM_REPLICAS {copies} cannot be kept by {replicas} servers"


def network(world: World) -> Iterator[str]:
    policies = [one["spec"] for one in world.of("NetworkPolicy")]
    denies = [one for one in policies if one["podSelector"] == {} and set(one["policyTypes"]) == {"Ingress", "Egress"}
              and not one.get("ingress") and not one.get("egress")]
    if not denies:
        yield "no NetworkPolicy denies everything by default"
    for policy in world.of("NetworkPolicy"):
        for direction, peer in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, []):
                if not rule.get(peer) or not rule.get("ports"):
                    yield f"{title(policy)}: an {direction} rule allows any peer or any port"
                if any(one.get("ipBlock", {}).get("cidr") in ("0.0.0.0/0", "::/0") for one in rule.get(peer) or []):
                    yield f"{title(policy)}: an {direction} rule allows every address"


def secrets(world: World) -> Iterator[str]:
    for secret in world.of("Secret"):
        yield f"{title(secret)}: secrets are made outside of the manifests"
    for workload in world.workloads():
        for container in containers(workload):
            for variable in container.get("env", []):
                if SECRET_NAME.search(variable["name"]) and variable.get("value"):
                    yield f"{title(workload)}: {variable['name']} holds a secret: name a file of a Secret with {variable['name']}_FILE"
    for name, data in world.configs.items():
        for variable in data:
            if SECRET_NAME.search(variable):
                yield f"ConfigMap {name}: {variable} holds a secret: name a file of a Secret with {variable}_FILE"


def ways_in(world: World) -> Iterator[str]:
    ingest, notifier = world.named("Deployment", "ingest"), world.named("Deployment", "notifier")
    if ingest is None or notifier is None:
        return
    answer = BODY_SECONDS + span(world.variables(ingest)["COMMIT_TIMEOUT"])
    body = size(world.variables(ingest)["MAX_BODY_BYTES"])
    age = span(world.variables(notifier)["SESSION_MAX_AGE"]) * 6 // 5
    for route in world.of("HTTPRoute"):
        yield from way(route, answer, body, age)
    for ingress in world.of("Ingress"):
        yield from ingress_way(ingress, answer, body, age)


def way(route: Document, answer: int, _body: int, age: int) -> Iterator[str]:
    hooks: set[str] = set()
    for rule in route["spec"]["rules"]:
        limit = span(rule.get("timeouts", {}).get("request", "0s"))
        for backend in rule["backendRefs"]:
            if backend["name"] == "ingest":
                hooks |= {match["path"]["value"] for match in rule["matches"]}
                if limit and limit < answer:
                    yield f"{title(route)}: {limit} s is less than a webhook may take: {answer} s"
            elif limit and limit < age:
                yield f"{title(route)}: {limit} s is less than a session's age: {age} s"
    if hooks != {f"{path}{slash}" for path in HOOKS for slash in ("", "/")}:
        yield f"{title(route)}: exactly the webhook's paths must lead to ingest, with and without their last slash"


def ingress_way(ingress: Document, answer: int, body: int, age: int) -> Iterator[str]:
    notes = {key.rsplit("/", 1)[-1]: value for key, value in ingress["metadata"].get("annotations", {}).items()}
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    services = {path["backend"]["service"]["name"] for path in paths}
    wait = int(notes.get("proxy-read-timeout", 60))
    if "ingest" in services:
        if {path["path"].rstrip("/") for path in paths} != HOOKS:
            yield f"{title(ingress)}: exactly the webhook's paths must lead to ingest"
        if size(notes.get("proxy-body-size", "1m")) < body:
            yield f"{title(ingress)}: proxy-body-size is less than MAX_BODY_BYTES"
        if wait < answer:
            yield f"{title(ingress)}: proxy-read-timeout is less than a webhook may take: {answer} s"
    if "notifier" in services and min(wait, int(notes.get("proxy-send-timeout", 60))) < age:
        yield f"{title(ingress)}: proxy-read-timeout and proxy-send-timeout must be at least a session's age: {age} s"


RULES: list[Callable[[World], Iterator[str]]] = [
    restricted, images, resources, probes, drains, scaling, sizes, network, secrets, ways_in]


def strangers(documents: list[Document], example: str) -> list[str]:
    """Variables of our services that .env.example does not have, so that none of them reads them."""
    known = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.M))
    world = World(documents)
    services = [one for one in world.workloads() if pod(one)["containers"][0]["name"] in SERVICES]
    return [f"{title(service)}: no service reads {name}" for service in services for name in world.variables(service)
            if name.removesuffix("_FILE") not in known]


def unknown(file: str, text: str, operations: str) -> list[str]:
    """Metrics and chapters that a file names, and docs/OPERATIONS.md does not have."""
    metrics = set(re.findall(r"`((?:ingest|notifier)_[a-z_]+)", operations))
    chapters = {line.lstrip("# ").lower().replace(" ", "-") for line in operations.splitlines() if line.startswith("#")}
    named = set(re.findall(r"mandrill_live_((?:ingest|notifier)_[a-z_]+)", text))
    return [
        *(f"{file}: no service has the metric mandrill_live_{name}" for name in sorted(named)
          if not {name, re.sub(r"_(bucket|sum|count)$", "", name)} & metrics),
        *(f"{file}: docs/OPERATIONS.md has no chapter {chapter}"
          for chapter in sorted(set(re.findall(r"docs/OPERATIONS\.md#(\S+)", text)) - chapters)),
    ]
