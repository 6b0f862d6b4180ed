"""What the image of `docker/` promises: no root, pinned libraries, a health check."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.unit.containers import DOCKER, ROOT, stages


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


def test_what_an_image_is_built_with_is_what_was_installed_as_pinned() -> None:
    [line] = [line for line in stages()["wheel"][1] if "pip wheel" in line]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} < set(line.split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert set(project["build-system"]["requires"]) < set(constraints)


def test_the_user_of_an_image_can_have_any_number() -> None:
    lines = stages()["base"][1]
    assert "ARG SWEEP_UID=1000" in lines  # UID is what a shell such as bash sets itself
    [line] = [line for line in lines if "useradd" in line]
    assert "--no-log-init" in line.split() and '--uid "$SWEEP_UID"' in line


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
