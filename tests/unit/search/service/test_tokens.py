from __future__ import annotations

import hmac
import json
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service import tokens as tokens_module
from lstm_sweep.search.service.permissions import Role, User
from lstm_sweep.search.service.tokens import PREFIX, TokenFile


def test_a_token_is_known_until_it_is_revoked(tmp_path: Path) -> None:
    file, other = TokenFile(tmp_path), TokenFile(tmp_path)
    token = file.add("ann", "run")
    second = file.add("bob", "read")
    assert token.startswith(PREFIX) and len(token) > 40 and token != second
    assert other.find(token) == User("ann", Role.RUN)
    assert other.find(second) == User("bob", Role.READ)
    assert [row.name for row in other.rows()] == ["ann", "bob"]
    file.revoke("ann")
    assert other.find(token) is None and other.find(second)


def test_the_file_has_no_token_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    token = tokens.add("ann", "run")
    assert token not in tokens.file.read_text()
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    tokens.file.chmod(0o640)
    with pytest.raises(InputError, match="nobody but you may read"):
        TokenFile(tmp_path).rows()


@pytest.mark.parametrize("near", ["", "x", PREFIX, "a" * 100_000, "\ud800", "ÿ"])
def test_what_is_no_token_is_nobodys(tmp_path: Path, near: str) -> None:
    tokens = TokenFile(tmp_path)
    token = tokens.add("ann", "run")
    assert tokens.find(near) is None
    assert tokens.find(token[:-1]) is None
    assert tokens.find(f"{token} ") is None


@pytest.mark.parametrize("name, role", [("", "run"), ("a b", "run"), ("../a", "run"), ("a", "all")])
def test_what_cannot_be_added_is_refused(tmp_path: Path, name: str, role: str) -> None:
    with pytest.raises(InputError, match=r"expected|possible"):
        TokenFile(tmp_path).add(name, role)
    assert TokenFile(tmp_path).rows() == ()


def test_a_name_is_taken_once_and_an_unknown_one_cannot_be_revoked(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    with pytest.raises(InputError, match="there are none"):
        tokens.revoke("ann")
    tokens.add("ann", "read")
    with pytest.raises(InputError, match="token 'ann' exists"):
        tokens.add("ann", "run")
    with pytest.raises(InputError, match="did you mean 'ann'"):
        tokens.revoke("anne")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"tokens": [{"name": "a"}]}', '{"tokens": 1}']
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    tokens = TokenFile(tmp_path)
    tokens.file.touch(mode=0o600)
    tokens.file.write_text(text)
    with pytest.raises(InputError, match="lstm-sweep token add"):
        tokens.rows()


def test_a_link_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.json"
    real.touch(mode=0o600)
    real.write_text(json.dumps({"tokens": []}))
    tokens = TokenFile(tmp_path)
    tokens.file.symlink_to(real)
    with pytest.raises(InputError, match="nobody but you"):
        tokens.rows()


def test_all_tokens_are_compared_in_constant_time_whichever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TokenFile(tmp_path)
    tokens = [file.add(name, "run") for name in ("ann", "bob", "eve")]
    compared = list[str]()

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return hmac.compare_digest(given, known)

    monkeypatch.setattr(tokens_module, "hmac", SimpleNamespace(compare_digest=compare))
    for token in (tokens[0], tokens[2], "none"):
        compared.clear()
        file.find(token)
        assert compared == [row.digest for row in file.rows()]
