"""What a template brings that was written for Hyperas: its imports and its own search."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.template.template import Template
from tests.unit.spaces.template.short_templates import model, read, returned


def test_hyperas_need_not_be_there(tmp_path: Path) -> None:
    text = """\
import os, hyperas
from hyperas import optim
from hyperas.distributions import choice, uniform
import hyperas.optim as o

def data():
    return 1

def create_model(x):
    return {{choice([1, 2])}}

best, _ = optim.minimize(model=create_model, data=data)
print(best)
helper = 3

def after():
    return os.getcwd()

if __name__ == '__main__':
    print(best)
"""
    template = read(tmp_path, text)
    assert returned(template, 5, **{"return:10": 2}) == 2
    assert template.notes == (
        "line 12: optim.minimize(...) is ignored, and what is done after it",
        "line 19: what stands under __name__ == '__main__' is ignored",
    )


MINIMIZE = "optim.minimize(model=build, data=load)"
SEARCHES = [
    (f"try:\n    {MINIMIZE}\nexcept Exception:\n    pass\n", "line 6: optim.minimize(...)"),
    (f"with open('x') as f:\n    {MINIMIZE}\n", "line 6: open(...)"),
    (f"class Search:\n    def go(self):\n        {MINIMIZE}\nSearch().go()\n",
     "line 9: Search().go(...)"),
    (f"def main():\n    from hyperas import optim as o\n    {MINIMIZE}\nmain()\n",
     "line 9: main(...)"),
    (f"if __name__ == '__main__':\n    best = {MINIMIZE}\nprint(best)\n",
     "line 6: what stands under __name__ == '__main__'"),
    ("optim.best_ensemble(5, model=build, data=load)\n", "line 6: optim.best_ensemble(...)"),
    ("import hyperas.optim as h\nh.minimize(build, load)\n", "line 7: h.minimize(...)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "note"), SEARCHES)
def test_what_searches_is_ignored_wherever_it_stands(text: str, note: str, tmp_path: Path) -> None:
    above = """\
from hyperas import optim
def load():
    return 1, 2
def build(x, y):
    return {{choice([1, 2])}}
"""
    template = read(tmp_path, above + text)
    assert (template.data, template.model) == ("load", "build")
    config = template.space().middle().to_dict()
    exec(template.code(config), {"__name__": "template"})
    [found] = template.notes
    assert found.startswith(f"{note} ") and "ignored" in found


def test_conditional_gives_back_what_it_is_given(tmp_path: Path) -> None:
    text = """\
from hyperas.distributions import choice, conditional
from hyperas.distributions import conditional as when
def data():
    return 1, 2
def create_model(x, y):
    return conditional({{choice(['three', 'four'])}}) == 'four', when({{choice([1, 2])}})
"""
    template = read(tmp_path, text)
    assert list(template.hyperparameters) == ["return:6", "return:6:2"]
    assert returned(template, **{"return:6": "'four'", "return:6:2": 2}) == (True, 2)


def test_a_notebook_is_told_how_to_become_a_template(tmp_path: Path) -> None:
    (tmp_path / "mine.ipynb").write_text('{"cells": []}')
    with pytest.raises(InputError, match=r"a notebook.*jupyter nbconvert --to script mine\.ipynb"):
        Template.read(str(tmp_path / "mine.ipynb"))


def test_commands_of_an_exported_notebook_are_ignored(tmp_path: Path) -> None:
    above = """\
get_ipython().run_line_magic('matplotlib', 'inline')
get_ipython().system('pip install hyperas')
"""
    template = model(tmp_path, "return {{choice([1, 2])}}", above)
    assert returned(template, **{"return:2": 2}) == 2
    assert [note.partition(":")[2] for note in template.notes] == [
        " get_ipython().run_line_magic('matplotlib', 'inline') is ignored",
        " get_ipython().system('pip install hyperas') is ignored",
    ]
    for line, why in [
        ("get_ipython().run_cell_magic('time', '', 'x = 3')", "the lines of the cell themselves"),
        ("%matplotlib inline", "%matplotlib inline is a command of a notebook"),
        ("!pip install hyperas", "!pip install hyperas is a command of a notebook"),
    ]:
        with pytest.raises(InputError, match=why):
            model(tmp_path, "return {{choice([1, 2])}}", f"{line}\n")


def test_a_function_that_searches_is_not_called(tmp_path: Path) -> None:
    text = """\
from hyperas import optim
def load():
    return 1, 2
def build(x, y):
    return {{choice([1, 2])}}
def search():
    return optim.minimize(build, load)
def main():
    search()
main()
"""
    template = read(tmp_path, text)
    assert (template.data, template.model, template.returned) == ("load", "build", ("", ""))
    assert template.notes == ("line 10: main(...) is ignored, and what is done after it",)
