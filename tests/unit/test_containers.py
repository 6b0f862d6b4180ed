"""What `docker/` promises: no password by default, no open port, no root, pinned libraries."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.errors import InputError
from search.settings import load
from tests.postgres import do_without

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE, GPU, S3 = (
    yaml.safe_load((DOCKER / f"compose{overlay}.yaml").read_text(encoding="utf-8"))
    for overlay in ("", ".gpu", ".s3")
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY")
#: a value that must be given, with what to say if it is not
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")


#: what is given to it where nobody says otherwise
GIVEN = dict.fromkeys(re.findall(r"\$\{([A-Z_]+):\?", f"{COMPOSE} {S3}"), "planted")
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
        do_without("docker-compose", "Compose is not installed, expected `docker-compose`")

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
    read = parse("compose.yaml", *(f"compose.{name}.yaml" for name in overlays), **GIVEN)
    assert (read.returncode, read.stderr) == (0, "")
    services = json.loads(read.stdout)["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert [port["host_ip"] for port in ports] == ["127.0.0.1"]
    target = "gpu" if "gpu" in overlays else "cpu"
    assert services["sweep"]["image"] == f"lstm-sweep:{target}"
    assert services["sweep"]["build"] == {
        "context": str(ROOT),
        "dockerfile": "docker/Dockerfile",
        "target": target,
        "args": {"UID": "1000"},
    }
    assert ("AWS_SECRET_ACCESS_KEY" in services["mlflow"]["environment"]) == ("s3" in overlays)
    assert not any("AWS" in name for name in services["sweep"]["environment"])


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_compose_starts_nothing_without_a_secret(parse: Parse, name: str) -> None:
    for environment in ({}, {name: ""}):
        others = {other: text for other, text in GIVEN.items() if other != name}
        read = parse("compose.yaml", "compose.s3.yaml", **others, **environment)
        assert read.returncode != 0
        assert f"required variable {name} is missing a value: set the " in read.stderr


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("python3 /opt/lstm-sweep/bin/lstm-sweep ui --host 0.0.0.0 --port 5001", "5001"),
        ("/sbin/docker-init -- lstm-sweep ui --port=5002", "5002"),
        ("/sbin/docker-init -- lstm-sweep ui", "5000"),
        ("/sbin/docker-init -- lstm-sweep trials ui --top 5", None),
        ("python3 /opt/lstm-sweep/bin/lstm-sweep launch --data ui", None),
        ("/sbin/docker-init -- tar -C /var/lib/lstm-sweep -cz ui", None),
        ("/sbin/docker-init -- lstm-sweep", None),
        ("mlflow db upgrade ui", None),
    ],
)
def test_a_server_alone_must_answer_to_be_well(line: str, port: str | None) -> None:
    healthy = runpy.run_path(str(DOCKER / "healthy.py"))
    assert healthy["port_of"](line.split(" ")) == port


def stages() -> dict[str, tuple[str, list[str]]]:
    """Stages of the Dockerfile by name: what each is built on, and its instructions."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, tuple[str, list[str]]] = {}
    for instruction in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", instruction):
            found[match[2]] = (match[1], [])
        elif found:
            found[list(found)[-1]][1].append(instruction)
    return found


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
    assert 'ENTRYPOINT ["lstm-sweep"]' in lines


def test_what_an_image_installs_is_pinned() -> None:
    installs = [line for name in stages() for line in stages()[name][1] if "pip install" in line]
    assert len(installs) == 4
    for line in installs:
        assert "--no-index --no-deps" in line or "--constraint constraints.txt" in line


def test_the_base_of_an_image_can_be_chosen() -> None:
    assert stages()["base"][0] == "${BASE}"
    assert re.search(r"^ARG BASE=\S+:\S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)


def test_what_an_image_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    for line in [line for name in stages() for line in stages()[name][1]]:
        if line.startswith("COPY ") and line != "COPY . .":
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).is_file()
                assert f"!{source}" in ignored
    assert {"!models", "!search", "!spaces", "!README.md"} < set(ignored)


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 1
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", [*SERVICES.values(), S3["services"]["mlflow"]])
def test_no_secret_has_a_default(service: dict[str, Any]) -> None:
    environment = service["environment"]
    secrets = [value for name, value in environment.items() if SECRET.search(name)]
    assert secrets
    assert all(REQUIRED.fullmatch(value) for value in secrets)


def test_the_readme_names_every_variable() -> None:
    text = f"{COMPOSE} {S3}"
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|", readme(), re.MULTILINE)
    told = re.findall(r"[A-Z_]+", " ".join(rows))
    assert set(told) == set(re.findall(r"\$\{([A-Z_]+)", text))


@pytest.mark.parametrize("service", ["db", "mlflow"])
def test_a_server_is_watched_and_comes_back(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[service]["restart"] == "unless-stopped"


def test_each_service_waits_for_the_one_it_needs() -> None:
    needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    healthy = {"condition": "service_healthy"}
    assert needs == {"db": {}, "mlflow": {"db": healthy}, "sweep": {"mlflow": healthy}}


def test_what_must_last_lies_in_named_volumes() -> None:
    mounts = [tuple(mount.split(":")) for name in SERVICES for mount in SERVICES[name]["volumes"]]
    named = {mount[0] for mount in mounts if not mount[0].startswith("./")}
    assert named == set(COMPOSE["volumes"]) == {"database", "artifacts", "cache"}
    lent = [mount for mount in mounts if mount[0].startswith("./")]
    assert lent == [("./mlflow.yaml", "/etc/lstm-sweep/mlflow.yaml", "ro")]


def test_the_settings_that_are_lent_are_named_so_that_they_are_obeyed() -> None:
    service = SERVICES["mlflow"]
    named = service["environment"]["LSTM_SWEEP_SETTINGS"]
    assert f"./mlflow.yaml:{named}:ro" in service["volumes"]
    settings = load(DOCKER, {"LSTM_SWEEP_SETTINGS": "mlflow.yaml", "PGPASSWORD": "planted"})
    assert settings.tracking_uri == "postgresql://lstm_sweep@db/lstm_sweep"
    with pytest.raises(InputError, match="PGPASSWORD"):
        load(DOCKER, {"PGPASSWORD": "planted"})


def test_the_server_alone_has_the_files_of_runs_where_its_settings_say() -> None:
    settings = yaml.safe_load((DOCKER / "mlflow.yaml").read_text(encoding="utf-8"))
    mount = f"artifacts:{settings['artifacts']}"
    assert [name for name in SERVICES if mount in SERVICES[name]["volumes"]] == ["mlflow"]
    assert any(settings["artifacts"] in line for line in stages()["base"][1])


def test_the_server_answers_to_its_name_and_asks_for_a_password() -> None:
    settings = yaml.safe_load((DOCKER / "mlflow.yaml").read_text(encoding="utf-8"))
    assert settings["auth"] == "basic"
    assert "mlflow" in settings["allowed_hosts"]
    assert SERVICES["sweep"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert re.search(r"://[^:@]+@db/", settings["tracking_uri"])


def test_a_sweep_gets_the_time_to_end_in_order() -> None:
    for name in ("mlflow", "sweep"):
        assert SERVICES[name]["init"] is True
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 10


def test_gpus_are_asked_for_in_the_overlay_alone() -> None:
    assert "nvidia" not in str(COMPOSE)
    assert list(GPU["services"]) == ["sweep"]
    sweep = GPU["services"]["sweep"]
    assert sweep["image"].endswith(":gpu")
    assert sweep["build"] == {"target": "gpu"}
    assert sweep["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_the_images_are_built_by_targets_that_exist() -> None:
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets | {GPU["services"]["sweep"]["build"]["target"]} == {"cpu", "gpu"}
    assert {"cpu", "gpu"} < set(stages())


def test_the_commands_of_the_readme_name_services_and_files_that_exist() -> None:
    commands = re.findall(r"^docker compose .*", readme(), re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        for file in re.findall(r"-f (\S+\.yaml)", command):
            assert (ROOT / file).is_file()
        named = set(re.sub(r"(--entrypoint|-U|-d|-v) \S+", "", command).split()) & set(SERVICES)
        needs_one = re.search(r" (run|exec|logs|stop) ", command)
        assert named or not needs_one, command


def test_an_upgrade_is_of_the_database_that_the_server_has() -> None:
    settings = yaml.safe_load((DOCKER / "mlflow.yaml").read_text(encoding="utf-8"))
    address = settings["tracking_uri"].replace("postgresql:", "postgresql+psycopg2:")
    assert f"db upgrade {address}\n" in readme()


def readme() -> str:
    return (DOCKER / "README.md").read_text(encoding="utf-8")
