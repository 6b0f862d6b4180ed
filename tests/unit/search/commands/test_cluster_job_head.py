"""Where a command is sent."""

from __future__ import annotations

import os

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.wording import for_command_line
from lstm_sweep.search.commands.cluster_job import head_of


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("http://head:8265/", "http://head:8265"),
        ("https://ray.example.org", "https://ray.example.org"),
        (None, None),
    ],
)
def test_a_dashboard_is_the_head_of_a_sweep_on_ray(address: str | None, found: str | None) -> None:
    assert head_of(address, "ray") == found


def test_a_dashboard_in_ray_address_is_the_head_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert head_of(None, "ray") == "http://head:8265"
    assert head_of("http://other:8265", "ray") == "http://other:8265"
    assert head_of(None, "local") is None
    assert head_of(None, None) is None


@pytest.mark.parametrize("address", ["auto", "10.0.0.5:6379"])
def test_an_address_of_another_kind_is_left_to_the_engine(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "before")
    assert head_of(address, "ray") is None
    assert os.environ["RAY_ADDRESS"] == address


@pytest.mark.parametrize(
    ("address", "on", "said"),
    [
        ("http://head:8265", "local", "is 'http://head:8265', with --on local: expected --on ray"),
        ("auto", "inline", "is 'auto', with --on inline: expected --on ray"),
        ("auto", None, "is 'auto', without --on: expected --on ray"),
        ("ray://head:10001", "ray", "is 'ray://head:10001': expected http://HEAD:8265"),
        ("ftp://head:21", "ray", "is 'ftp://head:21': expected http://HEAD:8265"),
        ("", "ray", "is '': expected http://HEAD:8265"),
        ("http://", "ray", "is 'http://': expected the address of its dashboard"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address: str, on: str | None, said: str) -> None:
    with pytest.raises(InputError) as caught:
        head_of(address, on)
    assert for_command_line(caught.value).startswith(f"--address {said}")
