"""Containers have no rights that they do not need, and limits; the examples for Compose and Kubernetes agree."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from streams.settings.processes import IngressSettings, WorkerSettings
from tests.hardening.units import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = ("topics", "worker", "ingress", "poll", "sandbox")
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "docs" / "examples" / "kubernetes" / "streams.yaml").read_text())
)
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in MANIFESTS if one["kind"] == "Deployment"}
USER = 10001


def test_the_image_ends_as_a_user_that_is_given_by_number_and_owns_no_program() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    final = dockerfile.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == [f"{USER}:{USER}"]
    assert f"--uid {USER} --gid {USER}" in final
    assert not re.search(r"^COPY .*--chown", final, re.MULTILINE)
    assert not re.search(r"\bsudo\b|chmod|setcap", final)


@pytest.mark.parametrize("name", COMPOSE)
def test_every_container_is_without_capabilities_and_within_limits(name: str) -> None:
    service = COMPOSE[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 1024
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_write_to_their_volumes_alone_and_not_as_root(name: str) -> None:
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["user"] == f"{USER}:{USER}"
    (scratch,) = service["tmpfs"]
    assert {"noexec", "nosuid", "nodev"} <= set(scratch.split(":")[1].split(","))
    writable = [volume for volume in service.get("volumes", []) if not volume.endswith(":ro")]
    assert writable == {"worker": ["/var/lib/streams"], "sandbox": ["sandbox-data:/var/lib/sandbox"]}.get(name, [])


def test_a_container_gets_the_time_that_its_process_takes_to_end() -> None:
    worker = WorkerSettings().shutdown_timeout_s + 5
    ingress = 2 * IngressSettings().drain_timeout_s
    for name, takes in (("worker", worker), ("ingress", ingress)):
        assert float(COMPOSE[name]["stop_grace_period"].removesuffix("s")) >= takes + 5
        assert PODS[f"streams-{name}"]["terminationGracePeriodSeconds"] >= takes + 5


@pytest.mark.parametrize("name", PODS)
def test_a_pod_holds_to_the_restricted_standard(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and no token, no writable image."""
    pod = PODS[name]
    (container,) = pod["containers"]
    rights = {**pod["securityContext"], **container["securityContext"]}
    assert rights["runAsNonRoot"] is True
    assert (rights["runAsUser"], rights["runAsGroup"]) == (USER, USER)
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert rights["allowPrivilegeEscalation"] is rights["privileged"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert rights["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) - {"name"} <= {"emptyDir", "configMap", "secret"} for volume in pod["volumes"])
    assert "memory" in container["resources"]["limits"]


def test_the_namespace_enforces_that_standard_and_every_pod_is_behind_a_policy_for_both_directions() -> None:
    (namespace,) = (one for one in MANIFESTS if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    policies = [one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"]
    general = [one for one in policies if one["podSelector"]["matchLabels"] == {"app": "streams"}]
    assert {way for one in general for way in one["policyTypes"]} == {"Ingress", "Egress"}
    for one in MANIFESTS:
        if one["kind"] == "Deployment":
            assert one["spec"]["template"]["metadata"]["labels"]["app"] == "streams"


def test_pods_reach_no_metadata_service_and_no_inner_host_but_kafka_and_names() -> None:
    (out,) = (one["spec"]["egress"] for one in MANIFESTS if one["metadata"]["name"] == "streams-out")
    (public,) = (to["ipBlock"] for rule in out for to in rule["to"] if "ipBlock" in to)
    assert {"169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(public["except"])
