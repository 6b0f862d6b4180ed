from __future__ import annotations

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.values.spec import ray_address


@pytest.mark.parametrize(
    ("address", "on", "expected"),
    [
        (None, None, None),
        (None, "ray", None),
        ("auto", "ray", "auto"),
        ("head:6379", "ray", "head:6379"),
    ],
)
def test_an_address_is_that_of_the_cluster(
    address: str | None, on: str | None, expected: str | None
) -> None:
    assert ray_address(address, on) == expected


@pytest.mark.parametrize(
    ("address", "on", "said"),
    [
        ("http://head:8265", "ray", "--address is 'http://head:8265': expected auto or HEAD:6379"),
        ("ray://head:10001", "ray", "use a service on the head, or `ray job submit`"),
        (" ", "ray", "--address is ' ': expected auto or HEAD:6379"),
        (7, "ray", "--address is 7: expected auto or HEAD:6379"),
        ("auto", "local", "--address is 'auto', with --on local: expected --on ray with it"),
        ("auto", None, "--address is 'auto', without --on: expected --on ray with it"),
    ],
)
def test_what_is_no_address_of_a_cluster_is_refused(
    address: object, on: str | None, said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ray_address(address, on)
    assert said in str(refused.value)
