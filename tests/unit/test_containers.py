"""What images and services of `docker/` promise: no root, no password by default, no open port."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.store.settings import load
from tests.postgres import do_without
from tests.unit.containers import COMPOSE, DOCKER, GPU, ROOT, S3, SERVICES, readme, stages

SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|LOGIN")
#: a program that prints the password it was given
PRINTED = "import os; print(os.environ['PGPASSWORD']); assert 'SSL_CERT' not in os.environ"
Parse = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def parse() -> Parse:
    """Compose itself, which needs no engine to read files."""
    known = [["docker-compose"], ["docker", "compose"]]
    there = [
        command
        for command in known
        if shutil.which(command[0])
        and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    ]
    if not there:
        do_without("compose", "there is no Compose, expected `docker compose`")

    def parse(*files: str, **environment: str) -> subprocess.CompletedProcess[str]:
        named = [part for file in files for part in ("-f", str(DOCKER / file))]
        options = ["--env-file", os.devnull, *named, "--profile", "sweep"]
        return subprocess.run(
            [*there[0], *options, "config", "--format", "json"],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return parse


@pytest.mark.parametrize("overlays", [[], ["gpu"], ["s3"], ["s3", "gpu"]], ids="+".join)
def test_compose_reads_the_files(parse: Parse, overlays: list[str]) -> None:
    read = parse("compose.yaml", *(f"compose.{name}.yaml" for name in overlays))
    assert (read.returncode, read.stderr) == (0, "")
    services = json.loads(read.stdout)["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert [port["host_ip"] for port in ports] == ["127.0.0.1"] * 2
    target = "gpu" if "gpu" in overlays else "cpu"
    assert services["sweep"]["image"] == f"lstm-sweep:{target}"
    assert services["sweep"]["build"] == {
        "context": str(ROOT),
        "dockerfile": "docker/Dockerfile",
        "target": target,
        "args": {"SWEEP_UID": "1000"},
    }
    assert ("AWS_SECRET_ACCESS_KEY_FILE" in services["mlflow"]["environment"]) == ("s3" in overlays)
    assert not any("AWS" in name for name in services["sweep"]["environment"])


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
    done = subprocess.run(
        ["sh", DOCKER / "with-secrets", sys.executable, "-c", PRINTED],
        env={"PATH": os.environ["PATH"]} | files | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == given.get("PGPASSWORD", "of a $file 'quoted'")


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
def test_an_image_ends_as_a_user_without_rights(target: str) -> None:
    lines = history(target)
    user = lines[-1].removeprefix("USER ")
    assert user not in (lines[-1], "root", "0")
    assert any(f"--create-home {user} " in line for line in lines)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_has_a_health_check_and_the_program_as_its_entry(target: str) -> None:
    lines = history(target)
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
