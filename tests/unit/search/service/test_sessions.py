from __future__ import annotations

import pytest

from lstm_sweep.search.service import sessions
from lstm_sweep.search.service.sessions import KEPT_S, Sessions


def test_a_login_is_found_by_what_the_browser_has_and_is_not_in_it() -> None:
    found = Sessions()
    first, second = found.begin("YW5uOng="), found.begin("Ym9iOng=")
    assert (found.login_of(first), found.login_of(second)) == ("YW5uOng=", "Ym9iOng=")
    assert first != found.begin("YW5uOng=") and "YW5uOng=" not in first
    found.end(first)
    assert (found.login_of(first), found.login_of("guessed")) == ("", "")
    assert found.login_of(second) == "Ym9iOng="


def test_a_login_that_is_not_used_is_forgotten() -> None:
    now = [0.0]
    found = Sessions(lambda: now[0])
    session = found.begin("YW5uOng=")
    for now[0] in (KEPT_S - 1, 2 * KEPT_S - 2):  # each use keeps it
        assert found.login_of(session)
    now[0] = 3 * KEPT_S
    assert found.login_of(session) == ""


def test_only_so_many_logins_are_kept_the_one_used_last_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    found = Sessions()
    first, second = found.begin("a"), found.begin("b")
    assert found.login_of(first) == "a"
    third = found.begin("c")
    assert [found.login_of(one) for one in (first, second, third)] == ["a", "", "c"]
