from __future__ import annotations

from pathlib import Path

from tests.conftest import run_here


def test_tokens_are_added_listed_and_revoked(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        done = run_here("token", *words, cwd=tmp_path)
        return done.code, done.out.strip(), done.err.strip()

    assert "no tokens in" in run("list")[1]
    code, token, _ = run("add", "ann", "--role", "run")
    assert code == 0 and token.startswith("lstm-sweep-") and "\n" not in token
    made = run_here("token", "add", "bob", "--role", "read", "--json", cwd=tmp_path).json
    assert (made["name"], made["role"]) == ("bob", "read")
    listed = run_here("token", "list", "--json", cwd=tmp_path)
    assert [row["name"] for row in listed.json] == ["ann", "bob"]
    assert token not in listed.out and made["token"] not in listed.out
    assert "ann" in run("list")[1]
    assert run("revoke", "ann")[0] == 0
    assert run("revoke", "ann") == (
        2, "", "lstm-sweep: token 'ann': no such token; possible: bob"
    )  # fmt: skip
    assert run("add", "bob", "--role", "run")[2].startswith("lstm-sweep: token 'bob' exists")
    assert run("add", "eve", "--role", "all")[2] == (
        "lstm-sweep: --role is 'all': possible: read, run, admin"
    )
    assert run("add", "eve")[0] == 2 and run()[0] == 2


def test_tokens_are_those_of_the_store_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    store = f"sqlite:///{folder}/mlflow.db"
    added = run_here("token", "add", "ann", "--role", "run", "--store", store, cwd=tmp_path)
    assert added.code == 0 and (folder / "lstm-sweep-service" / "tokens.json").exists()

    def names(*options: str) -> list[str]:
        return [
            row["name"] for row in run_here("token", "list", *options, "--json", cwd=tmp_path).json
        ]

    assert (names("--store", store), names()) == (["ann"], [])
