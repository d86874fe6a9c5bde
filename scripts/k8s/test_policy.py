"""The policy finds what is wrong: each case changes one thing in manifests that are right."""

from __future__ import annotations

import copy
import unittest

import check
import compose
import policy

RIGHT = {overlay: check.render(overlay) for overlay in check.OVERLAYS}


def find(documents: list[dict], kind: str, name: str) -> dict:
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"].startswith(name))


def container(documents: list[dict], kind: str, name: str) -> dict:
    return policy.pod(find(documents, kind, name))["containers"][0]


def config(documents: list[dict], name: str) -> dict:
    return find(documents, "ConfigMap", f"{name}-")["data"]


class Policy(unittest.TestCase):
    def finds(self, words: str, change, overlay: str = "prod") -> None:
        documents = copy.deepcopy(RIGHT[overlay])
        change(documents)
        found = policy.findings(documents)
        self.assertTrue(any(words in finding for finding in found), f"{words!r} in {found}")

    def test_what_is_right_has_no_finding(self) -> None:
        for overlay, documents in RIGHT.items():
            self.assertEqual(policy.findings(documents), [], overlay)

    def test_where_others_can_come_in_readers_need_a_token(self) -> None:
        for overlay in ("prod", "external-nats"):
            values = policy.World(RIGHT[overlay]).variables(find(RIGHT[overlay], "Deployment", "notifier"))
            self.assertNotIn("ALLOW_ANONYMOUS", values, overlay)
            self.assertEqual(values["JWT_SECRET_FILE"], "/run/secrets/jwt/secret", overlay)

    def test_a_pod_is_restricted(self) -> None:
        spec = lambda documents: policy.pod(find(documents, "Deployment", "ingest"))
        own = lambda documents: container(documents, "Deployment", "notifier")["securityContext"]
        for words, change in {
            "hostNetwork": lambda d: spec(d).update(hostNetwork=True),
            "sysctls": lambda d: spec(d)["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]),
            "automountServiceAccountToken": lambda d: spec(d).pop("automountServiceAccountToken"),
            "service account of its own": lambda d: spec(d).pop("serviceAccountName"),
            "of a kind that is not allowed": lambda d: spec(d)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
            "runAsNonRoot": lambda d: spec(d)["securityContext"].update(runAsNonRoot=False),
            "runAsUser": lambda d: spec(d)["securityContext"].update(runAsUser=0),
            "seccompProfile": lambda d: spec(d)["securityContext"].pop("seccompProfile"),
            "privileged": lambda d: own(d).update(privileged=True),
            "allowPrivilegeEscalation": lambda d: own(d).pop("allowPrivilegeEscalation"),
            "capabilities": lambda d: own(d)["capabilities"].update(add=["NET_ADMIN"]),
            "drop ALL": lambda d: own(d).pop("capabilities"),
            "readOnlyRootFilesystem": lambda d: own(d).update(readOnlyRootFilesystem=False),
            "hostPort": lambda d: container(d, "StatefulSet", "nats")["ports"][0].update(hostPort=4222),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_the_job_is_looked_at_as_well(self) -> None:
        self.finds("Job setup", lambda d: container(d, "Job", "setup").pop("securityContext"))

    def test_images_have_a_fixed_tag(self) -> None:
        for image in ("nats", "nats:latest", "registry.example.com:5000/nats"):
            with self.subTest(image):
                self.finds("no fixed tag", lambda d, image=image: container(d, "StatefulSet", "nats").update(image=image))

    def test_resources_and_probes_are_there(self) -> None:
        for words, change in {
            "has no memory limit": lambda d: container(d, "Deployment", "ingest")["resources"].pop("limits"),
            "requests": lambda d: container(d, "Deployment", "ingest")["resources"]["requests"].pop("cpu"),
            "has no startupProbe": lambda d: container(d, "Deployment", "notifier").pop("startupProbe"),
            "has no readinessProbe": lambda d: container(d, "StatefulSet", "nats").pop("readinessProbe"),
            "must not ask /readyz": lambda d: container(d, "Deployment", "notifier")["livenessProbe"]["httpGet"].update(path="/readyz"),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_a_drain_has_its_time(self) -> None:
        for words, change in {
            "terminationGracePeriodSeconds 150 is less": lambda d: config(d, "notifier").update(DRAIN_SECONDS="140"),
            "terminationGracePeriodSeconds 30 is less": lambda d: policy.pod(find(d, "Deployment", "ingest")).pop("terminationGracePeriodSeconds"),
            "DRAIN_SECONDS is not set": lambda d: config(d, "notifier").pop("DRAIN_SECONDS"),
            "no preStop pause": lambda d: container(d, "Deployment", "notifier").pop("lifecycle"),
            "maxUnavailable must be 0": lambda d: find(d, "Deployment", "notifier")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_scaling_is_slow_and_leaves_enough(self) -> None:
        down = lambda d: find(d, "HorizontalPodAutoscaler", "notifier")["spec"]["behavior"]["scaleDown"]
        for words, change in {
            "one pod at a time, each later than a drain of 120 s": lambda d: down(d)["policies"][0].update(periodSeconds=60),
            "one pod at a time": lambda d: down(d).pop("policies"),
            "sets replicas": lambda d: find(d, "Deployment", "notifier")["spec"].update(replicas=3),
            "a Deployment that is not there": lambda d: d.remove(find(d, "Deployment", "ingest")),
            "no PodDisruptionBudget": lambda d: d.remove(find(d, "PodDisruptionBudget", "nats")),
            "not spread over nodes": lambda d: policy.pod(find(d, "StatefulSet", "nats")).pop("topologySpreadConstraints"),
            "sessionAffinity": lambda d: find(d, "Service", "notifier")["spec"].update(sessionAffinity="ClientIP"),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_memory_and_disk_hold_what_is_configured(self) -> None:
        for words, change in {
            "Deployment ingest: its memory limit": lambda d: config(d, "ingest").update(MAX_INFLIGHT_BYTES="1GiB"),
            "does not hold a body": lambda d: config(d, "ingest").update(MAX_BODY_BYTES="512MiB"),
            "Deployment notifier: its memory limit": lambda d: config(d, "notifier").update(MAX_SESSIONS="80000"),
            "less than its configuration needs: 1275 MiB": lambda d: config(d, "notifier").update(MAX_QUERIES="48"),
            "less than its configuration needs: 1131 MiB": lambda d: config(d, "notifier").update(RING_BYTES="256MiB"),
            "StatefulSet nats: its memory limit": lambda d: config(d, "stream").update(STREAM_MAX_BYTES="4GiB"),
            "GOMEMLIMIT": lambda d: container(d, "StatefulSet", "nats")["resources"]["limits"].update(memory="4Gi"),
            "MAX_FILE_STORE does not hold": lambda d: config(d, "stream").update(STREAM_MAX_BYTES="8GiB"),
            "volume must be larger": lambda d: container(d, "StatefulSet", "nats")["env"][1].update(value="20GB"),
            "STREAM_REPLICAS 3 cannot be kept": lambda d: find(d, "StatefulSet", "nats")["spec"].update(replicas=1),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_nothing_talks_but_along_the_flows(self) -> None:
        flow = lambda d: find(d, "NetworkPolicy", "broker-clients")["spec"]["egress"][0]
        for words, change in {
            "denies everything": lambda d: d.remove(find(d, "NetworkPolicy", "default-deny")),
            "any peer": lambda d: flow(d).pop("to"),
            "any port": lambda d: flow(d).pop("ports"),
            "every address": lambda d: flow(d).update(to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}]),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_names_are_known(self) -> None:
        documents = copy.deepcopy(RIGHT["prod"])
        config(documents, "ingest")["STREAM_MAX_AEG"] = "30d"
        container(documents, "Deployment", "notifier")["env"].append({"name": "JWT_SECRETS_FILE", "value": "/x"})
        self.assertEqual(policy.strangers(documents, check.text(".env.example")),
                         ["Deployment ingest: no service reads STREAM_MAX_AEG", "Deployment notifier: no service reads JWT_SECRETS_FILE"])
        operations = "## A chapter\n| `ingest_events_total{kind}` | `notifier_lag_seconds` |"
        text = "mandrill_live_ingest_events_total mandrill_live_notifier_lag_seconds_bucket docs/OPERATIONS.md#a-chapter"
        self.assertEqual(policy.unknown("rules", text, operations), [])
        text = "mandrill_live_ingest_event_total docs/OPERATIONS.md#another"
        self.assertEqual(policy.unknown("rules", text, operations),
                         ["rules: no service has the metric mandrill_live_ingest_event_total",
                          "rules: docs/OPERATIONS.md has no chapter another"])

    def test_secrets_are_references_only(self) -> None:
        variable = {"name": "NATS_PASSWORD", "value": "x"}
        for words, change in {
            "Secret x": lambda d: d.append({"kind": "Secret", "metadata": {"name": "x"}}),
            "NATS_PASSWORD_FILE": lambda d: container(d, "Deployment", "ingest")["env"].append(variable),
            "MANDRILL_WEBHOOK_KEYS_FILE": lambda d: config(d, "ingest").update(MANDRILL_WEBHOOK_KEYS="x"),
        }.items():
            with self.subTest(words):
                self.finds(words, change)

    def test_bodies_and_sockets_pass_every_way_in(self) -> None:
        rules = lambda d: find(d, "HTTPRoute", "mandrill-live")["spec"]["rules"]
        for words, change in {
            "less than a webhook may take": lambda d: rules(d)[0]["timeouts"].update(request="30s"),
            "less than a session's age": lambda d: rules(d)[1]["timeouts"].update(request="1h"),
            "with and without their last slash": lambda d: rules(d)[0]["matches"].pop(),
        }.items():
            with self.subTest(words):
                self.finds(words, change)
        notes = lambda d, name: find(d, "Ingress", name)["metadata"]["annotations"]
        prefix = "nginx.ingress.kubernetes.io/"
        for words, change in {
            "proxy-body-size": lambda d: notes(d, "ingest").pop(f"{prefix}proxy-body-size"),
            "less than a webhook may take": lambda d: notes(d, "ingest").pop(f"{prefix}proxy-read-timeout"),
            "at least a session's age": lambda d: notes(d, "notifier").update({f"{prefix}proxy-send-timeout": "3600"}),
        }.items():
            with self.subTest(words):
                self.finds(words, change, "external-nats")


class Compose(unittest.TestCase):
    def finds(self, words: str, change) -> None:
        parts = list(copy.deepcopy(check.one_machine()))
        change(parts)
        found = compose.findings(*parts)
        self.assertTrue(any(words in finding for finding in found), f"{words!r} in {found}")

    def test_what_is_right_has_no_finding(self) -> None:
        self.assertEqual(compose.findings(*check.one_machine()), [])

    def test_what_is_wrong_is_found(self) -> None:
        service = lambda parts, name: parts[0]["services"][name]

        def text(at: int, old: str, new: str):
            def change(parts: list) -> None:
                self.assertIn(old, parts[at])
                parts[at] = parts[at].replace(old, new)
            return change

        for words, change in {
            "no fixed tag": lambda p: service(p, "nats").update(image="${NATS_IMAGE:-nats:latest}"),
            "read_only": lambda p: service(p, "gateway").pop("read_only"),
            "capabilities": lambda p: service(p, "ingest").update(cap_add=["NET_ADMIN"]),
            "gain privileges": lambda p: service(p, "notifier").pop("security_opt"),
            "log has no bound": lambda p: service(p, "nats").pop("logging"),
            "no health check": lambda p: service(p, "nats").pop("healthcheck"),
            "holds a secret": lambda p: service(p, "notifier")["environment"].update(NATS_PASSWORD="x"),
            "no memory limit": lambda p: service(p, "notifier").pop("mem_limit"),
            "stop_grace_period": lambda p: service(p, "notifier").update(stop_grace_period="${STOP_GRACE_PERIOD:-30s}"),
            "only the gateway": lambda p: service(p, "nats").update(ports=["4222:4222"]),
            "must be internal": lambda p: p[0]["networks"]["back"].pop("internal"),
            "timeout tunnel": text(1, "timeout tunnel 2h", "timeout tunnel 1h"),
            "hard-stop-after": text(1, "hard-stop-after 90m", "hard-stop-after 60m"),
            "timeout server": text(1, "timeout server 75s", "timeout server 10s"),
            "sync_interval": text(2, "sync_interval: always", 'sync_interval: "1m"'),
            "max_payload": text(2, "max_payload: 8MB", "max_payload: 1MB"),
        }.items():
            with self.subTest(words):
                self.finds(words, change)


class Schemas(unittest.TestCase):
    def test_a_field_that_does_not_exist_is_found(self) -> None:
        documents = copy.deepcopy(RIGHT["prod"])
        container(documents, "Deployment", "ingest")["memoryLimit"] = "1Gi"
        self.assertTrue(check.schemas(documents))

    def test_a_value_of_another_type_is_found(self) -> None:
        documents = copy.deepcopy(RIGHT["prod"])
        find(documents, "StatefulSet", "nats")["spec"]["replicas"] = "three"
        self.assertTrue(check.schemas(documents))
