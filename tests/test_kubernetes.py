"""Manifests: valid for several Kubernetes versions whatever the artifact is called, and made of what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from serving.small_models import text_artifact

from toolkit.artifact import Artifact, load_artifact
from toolkit.commands.package import command
from toolkit.errors import InputError
from toolkit.kubernetes import (
    QUEUE_METRIC,
    describe_origin,
    grace_seconds,
    make_manifests,
    read_measured,
    resource_name,
    write_manifests,
)
from toolkit.serving.settings import Settings

VERSIONS = ("1.27", "1.31", "1.34", "1.37")
IMAGE = "registry.local:5000/team/trec:1"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return text_artifact(tmp_path_factory.mktemp("a") / "x", name="My\nQuestions: {int8}")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    made = text_artifact(tmp_path_factory.mktemp("m") / "x")
    report = {
        "digest": made.digest,
        "runtime": {"threads": 3},
        "footprint": {"peak_bytes": 200 << 20, "cold_load_ms": 20000.0},
        "latency": {"mean_ms": 5.0},
    }
    (made.folder / "evidence").mkdir()
    (made.folder / "evidence/report.json").write_text(json.dumps(report))
    return load_artifact(made.folder)


def by_kind(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: manifest for manifest in manifests}


def container_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = by_kind(manifests)["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return found


def refused(manifest: dict[str, Any], version: str) -> bool:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError:
        return True
    return False


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("secret", [None, "api-keys"])
def test_what_is_written_is_valid_in_strict_mode(
    artifact: Artifact, tmp_path: Path, version: str, secret: str | None
) -> None:
    out = tmp_path / "k.yaml"
    write_manifests(make_manifests(artifact, image=IMAGE, secret=secret), out, head=describe_origin(artifact))
    read = list(yaml.safe_load_all(out.read_text()))
    assert [one["kind"] for one in read] == [
        "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler",
    ]  # fmt: skip
    assert not [one["kind"] for one in read if refused(one, version)]
    # the validator can say no
    read[0]["spec"]["tenplate"] = read[0]["spec"].pop("template")
    assert refused(read[0], version)


@settings(max_examples=25, deadline=None)
@given(
    name=st.text(max_size=80), threads=st.integers(1, 512), queue=st.integers(0, 10**6),
    seconds=st.floats(0.001, 1e6),
    secret=st.none() | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    replicas=st.tuples(st.integers(1, 5), st.integers(5, 500)),
)  # fmt: skip
def test_any_name_and_any_settings_make_valid_manifests(
    artifact: Artifact, name: str, threads: int, queue: int, seconds: float, secret: str | None,
    replicas: tuple[int, int],
) -> None:  # fmt: skip
    assert len(resource_name(name)) <= 52
    assert resource_name(name).isascii()
    assert resource_name(name)[0].isalpha()
    assert resource_name(name)[-1].isalnum()
    chosen = Settings(threads=threads, queue=queue, timeout_seconds=seconds)
    manifests = make_manifests(artifact, image=IMAGE, settings=chosen, replicas=replicas, secret=secret)
    assert not [m["kind"] for m in manifests if refused(m, "1.37")]
    pod = by_kind(manifests)["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > chosen.drain_seconds + seconds
    assert (
        int(by_kind(manifests)["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["target"]["averageValue"]) >= 1
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TREC best (int8)", "trec-best-int8"),
        ("问题", "model"),
        ("9x", "model-9x"),
        ("a" * 80, "a" * 52),
        ("", "model"),
    ],
)
def test_a_name_becomes_the_nearest_label(name: str, expected: str) -> None:
    assert resource_name(name) == expected


def test_resources_come_from_the_report(measured: Artifact) -> None:
    manifests = make_manifests(measured, image=IMAGE)
    container = container_of(manifests)
    assert container["resources"] == {
        "requests": {"cpu": "3", "memory": "360Mi"}, "limits": {"cpu": "4", "memory": "720Mi"},
    }  # fmt: skip
    assert {"name": "TOOLKIT_THREADS", "value": "3"} in container["env"]
    probe = container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 200, "ten times the measured 20 s"
    metric = by_kind(manifests)["HorizontalPodAutoscaler"]["spec"]["metrics"][0]
    assert metric["type"] == "Pods"
    assert metric["pods"]["metric"] == {"name": QUEUE_METRIC}
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "10"}, "50 ms of 5 ms each"
    assert "NEVER MEASURED" not in describe_origin(measured)


def test_what_was_never_measured_is_a_default_and_said_so(artifact: Artifact) -> None:
    assert container_of(make_manifests(artifact, image=IMAGE))["resources"]["requests"]["memory"] == "1024Mi"
    head = describe_origin(artifact)
    assert "memory was NEVER MEASURED" in head
    assert all(line.startswith("# ") for line in head.splitlines()), "a name cannot leave the comment"


@pytest.mark.parametrize("text", ["{", "[]", '{"digest": "other", "footprint": {"peak_bytes": 1}}'])
def test_evidence_of_another_artifact_or_none_at_all_is_not_believed(tmp_path: Path, text: str) -> None:
    made = text_artifact(tmp_path / "x")
    (made.folder / "evidence").mkdir()
    (made.folder / "evidence/report.json").write_text(text)
    assert len(read_measured(made).missing()) == 4


def test_the_pod_may_do_nothing_it_does_not_need(artifact: Artifact) -> None:
    manifests = make_manifests(artifact, image=IMAGE, secret="keys")
    pod = by_kind(manifests)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    container = pod["containers"][0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"name": "TOOLKIT_KEYS_FILE", "value": "/run/secrets/toolkit/keys"} in container["env"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert grace_seconds(Settings()) == pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "Not An Image"}, "no name of an image"), ({"image": ""}, "no name of an image"),
        ({"image": "a\n"}, "no name of an image"), ({"image": IMAGE, "secret": "A B"}, "no name of a Secret"),
        ({"image": IMAGE, "replicas": (0, 3)}, "replicas cannot be"),
        ({"image": IMAGE, "replicas": (3, 2)}, "cannot be"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_not_take_is_refused(artifact: Artifact, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_manifests(artifact, **options)


def test_a_file_or_a_folder_the_same_each_time_and_never_overwritten(artifact: Artifact, tmp_path: Path) -> None:
    manifests, head = make_manifests(artifact, image=IMAGE), describe_origin(artifact)
    one, two = tmp_path / "one.yaml", tmp_path / "two.yml"
    for path in (one, two):
        assert write_manifests(manifests, path, head=head) == [path]
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(InputError, match="--force"):
        write_manifests(manifests, one, head=head)
    write_manifests(manifests, one, head=head, force=True)
    files = write_manifests(manifests, tmp_path / "folder", head=head)
    assert [yaml.safe_load(file.read_text()) for file in files] == list(yaml.safe_load_all(one.read_text()))


def test_the_command_writes_manifests_beside_the_bento(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    out = tmp_path / "k.yaml"
    done = CliRunner().invoke(command, [str(artifact.folder), "--name", "q", "--kubernetes", str(out), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["kubernetes"] == [str(out)]
    assert container_of(list(yaml.safe_load_all(out.read_text())))["image"] == document["tag"]
    done = CliRunner().invoke(command, [str(artifact.folder), "--image", "x"])
    assert isinstance(done.exception, InputError)
