"""Templates of a few lines, and what their model function returns."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.template import runner
from lstm_sweep.spaces.template.distributions import read
from lstm_sweep.spaces.template.template import Template, shown_label

REST = "\ndef data():\n    return 1, 2\n"


def read_template(tmp_path: Path, text: str) -> Template:
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    return Template.read(str(file))


def model(tmp_path: Path, body: str, above: str = "") -> Template:
    """A template whose `create_model(x, y)` has a body of lines from line 2 on."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return read_template(tmp_path, f"def create_model(x, y):\n{lines}{REST}{above}")


def returned(template: Template, *arguments: Any, **values: Any) -> Any:
    """What `create_model` returns in place of a trial."""
    config = template.space().middle().evolve(**values)
    namespace: dict[str, Any] = {}
    exec(template.code(config.to_dict()), namespace)
    return namespace["create_model"](*arguments or (1, 2))


def test_a_hyperparameter_has_the_name_of_its_argument_and_its_line(tmp_path: Path) -> None:
    body = """\
rate = 10 ** {{uniform(-4, -1)}}
net(Dense({{choice([8, 16])}}), Dense({{choice([8, 16])}}))
fit(units=int({{quniform(4, 8, 4)}}), **{'size': {{randint(3)}}})
if {{choice([True, False])}} and {{choice([1, 2])}} > 1:
    x.rate += {{normal(0, 1)}}
return {{choice(['a', 'b'])}}"""
    assert list(model(tmp_path, body).hyperparameters) == [
        "rate:2", "Dense:3", "Dense:3:2", "units:4", "size:4", "if:5", "if:5:2", "rate:6",
        "return:7",
    ]  # fmt: skip
    assert shown_label("Dense:3") == "Dense (line 3)"
    assert shown_label("Dense:3:2") == "Dense (line 3, no. 2)"


@pytest.mark.parametrize(
    ("given", "values", "result"),
    [
        ("[{{choice([x, y, x + y])}}, 10 ** {{randint(2, 5)}}]", ["x + y", 4], [7, 10_000]),
        ("[{{choice([x, y, x + y])}}, 10 ** {{randint(2, 5)}}]", ["y", 2], [4, 100]),
        ("{{choice([x, 1 / 0])}}", ["x"], 3),  # what is not chosen is not computed
        ("{{choice([dict, [[64], [64, 32]], (1, 2)])}}", ["dict"], dict),
        ("{{choice([dict, [[64], [64, 32]], (1, 2)])}}", ["[[64], [64, 32]]"], [[64], [64, 32]]),
        ("{{choice([lambda v: {'a}': v}, dict])}}(3)", ["lambda v: {'a}': v}"], {"a}": 3}),
        ("{{pchoice([(0.7, dict), (0.3, x)])}}", ["x"], 3),
        ("conditional({{choice(['a', 'b'])}}) == 'b', conditional({{choice([1, 2])}})",
         ["'b'", 2], (True, 2)),
    ],
)  # fmt: skip
def test_values_stand_in_the_places_of_hyperparameters(
    given: str, values: list[Any], result: object, tmp_path: Path
) -> None:
    text = f"from hyperas.distributions import conditional\n{REST}"
    text += f"def create_model(x, y):\n    return {given}\n"
    template = read_template(tmp_path, text)
    chosen = dict(zip(template.hyperparameters, values, strict=True))
    assert returned(template, 3, 4, **chosen) == result


def test_long_options_are_cut_and_still_told_apart(tmp_path: Path) -> None:
    long = f"'{'a' * 300}'"
    template = model(tmp_path, f"return len({{{{choice([{long}, {long[:-1]}b'])}}}})")
    [first, second] = template.space()["len:2"].values() or []
    assert str(first).endswith("(option 1)") and len(str(first)) < 120
    assert returned(template, **{"len:2": first}) == 300
    assert returned(template, **{"len:2": second}) == 301


def test_what_stands_in_texts_and_comments_is_no_hyperparameter(tmp_path: Path) -> None:
    body = """\
'''{{uniform(0, 1)}}'''  # {{uniform(0, 1)}}
text = '{{choice([1, 2])}}' + f'{{{x}}}'
return {{choice([1, 2])}}"""
    assert list(model(tmp_path, body).hyperparameters) == ["return:4"]


def test_options_may_be_named_where_they_can_be_seen(tmp_path: Path) -> None:
    text = """\
import numpy as np
SIZES, LOW = [8, 16], 1
CHANGED = [1]
CHANGED.append(2)
HIDDEN = [3, 4]
def data():
    length = 100
    more = [5, 6]
    return 1, length
def helper():
    return {{choice(SIZES)}}
def create_model(x, length):
    rates = list(np.linspace(0.5, 1, 3))
    HIDDEN = x
    return [
        {{choice(rates)}}, {{choice(more)}}, {{randint(LOW, length)}}, {{choice([length, x])}},
        helper(), {{choice(PLACE)}},
    ]
"""
    for place in ("CHANGED", "HIDDEN", "x", "nowhere"):
        with pytest.raises(InputError, match=f"mine.py:17: options of choice are '{place}'"):
            read_template(tmp_path, text.replace("PLACE", place))
    space = read_template(tmp_path, text.replace("PLACE", "range(3)")).space()
    assert [dimension.values() for dimension in space.values()] == [
        [8, 16], [0.5, 0.75, 1.0], [5, 6], list(range(1, 100)), ["length", "x"], [0, 1, 2],
    ]  # fmt: skip


def test_hyperparameters_that_the_model_does_not_come_to_are_left_out(tmp_path: Path) -> None:
    text = """\
from hyperas import optim
def data():
    return 1, 2
def other_model(x, y):
    return {{choice([3, 4])}}
def part():
    return {{choice([5, 6])}}
def create_model(x, y):
    return {{choice([1, 2])}} + part()
optim.minimize(create_model, data)
"""
    template = read_template(tmp_path, text)
    assert list(template.hyperparameters) == ["return:7", "return:9"]
    assert returned(template, **{"return:7": 6, "return:9": 2}) == 8
    assert "line 5: other_model has {{...}}, but create_model does not use it" in template.notes


def test_what_works_otherwise_than_one_would_think_is_noted(tmp_path: Path) -> None:
    body = "return {{choice(['a', 'a', 'b'])}}, {{uniform(1, 0)}}"
    assert model(tmp_path, body).notes == (
        "line 2: choice lists some options more than once, as likely as that: 'a' 67%, 'b' 33%",
        "line 2: uniform goes from 0 to 1",
    )


def test_a_byte_order_mark_and_other_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = f"def create_model(x, y):\r\n    return {{{{choice([1, 2])}}}}\r\n{REST}"
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(Template.read(str(tmp_path / "mine.py")).hyperparameters) == ["return:2"]


def test_a_learning_rate_is_named_by_argument_or_label(tmp_path: Path) -> None:
    body = """\
rate = {{loguniform(-7, -1)}}
units = {{choice([8, 16])}}, {{choice([8, 16])}}
kind = {{choice(['a', 'b'])}}
other = {{normal(0, 1)}}
low = {{uniform(-1, 1)}}"""
    template = model(tmp_path, body)
    assert template.space().rate is None
    for name in ("rate", "rate:2", "rate (line 2)"):
        assert template.space(name).rate == "rate:2"
    for name, why in [
        ("rat", "no hyperparameter"), ("units", "2 hyperparameters"), ("kind", "above 0"),
        ("other", "above 0"), ("low", "above 0"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=why):
            template.space(name)


MINIMIZE = "optim.minimize(model=build, data=load)"
SEARCHES = [
    (f"try:\n    {MINIMIZE}\nexcept Exception:\n    pass\n", "line 6: optim.minimize(...)"),
    (f"with open('x') as f:\n    {MINIMIZE}\n", "line 6: open(...)"),
    (f"class Search:\n    def go(self):\n        {MINIMIZE}\nSearch().go()\n",
     "line 9: Search().go(...)"),
    (f"def main():\n    from hyperas import optim as o\n    {MINIMIZE}\nmain()\n",
     "line 9: main(...)"),
    (f"def search():\n    return {MINIMIZE}\ndef main():\n    search()\nmain()\n",
     "line 10: main(...)"),
    (f"if __name__ == '__main__':\n    best = {MINIMIZE}\nprint(best)\n",
     "line 6: what stands under __name__ == '__main__'"),
    ("optim.best_ensemble(5, model=build, data=load)\n", "line 6: optim.best_ensemble(...)"),
    ("import hyperas.optim as h\nh.minimize(build, load)\n", "line 7: h.minimize(...)"),
    (f"import os, hyperas\nbest, _ = {MINIMIZE}\nprint(best)\n", "line 7: optim.minimize(...)"),
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
    template = read_template(tmp_path, above + text)
    assert (template.data, template.model) == ("load", "build")
    config = template.space().middle().to_dict()
    exec(template.code(config), {"__name__": "template"})
    [found] = template.notes
    assert found.startswith(f"{note} ") and "ignored" in found


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
    assert template.notes == ()
    for line, why in [
        ("get_ipython().run_cell_magic('time', '', 'x = 3')", "the lines of the cell themselves"),
        ("%matplotlib inline", "%matplotlib inline is a command of a notebook"),
        ("!pip install hyperas", "!pip install hyperas is a command of a notebook"),
    ]:
        with pytest.raises(InputError, match=why):
            model(tmp_path, "return {{choice([1, 2])}}", f"{line}\n")


def test_a_link_that_waits_for_the_copy_is_not_followed(tmp_path: Path) -> None:
    saved, precious, place = (tmp_path / name for name in ("saved", "precious", "model.keras"))
    saved.write_bytes(b"weights")
    precious.write_bytes(b"precious")
    (tmp_path / f".{os.getpid()}-model.keras").symlink_to(precious)
    place.symlink_to(precious)
    runner._copy(saved, place)
    assert precious.read_bytes() == b"precious"
    assert place.read_bytes() == b"weights" and not place.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("A, c, B", "a, b, c"),  # passed by position, two would be in others' places
        ("x, y", "a, b, c"),
        ("a, inner", "a, b"),  # which hyperas passes by name
        ("a, b, c, d", "a, b, c"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: str, names: str, tmp_path: Path) -> None:
    text = f"def data():\n    a = b = c = inner = 1\n    return {names}\n"
    text += f"def create_model({arguments}):\n    return {{{{choice([1, 2])}}}}\n"
    with pytest.raises(InputError) as caught:
        read_template(tmp_path, text)
    assert str(caught.value).endswith(
        f"mine.py:4: create_model takes {arguments}, but data returns {names}: expected the same "
        "names, or as many in the same order"
    )


def dimension(text: str, **names: str) -> Dimension:
    """The dimension of a distribution, with what is assigned to names above it."""
    known = {name: ast.parse(value, mode="eval").body for name, value in names.items()}
    return read("a:1", ast.parse(text, mode="eval").body, known).dimension


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("choice([32, 16])", [16, 32]),
        ("choice((0.5, 1, 10 ** -1))", [0.1, 0.5, 1]),
        ("choice([1, None])", ["1", "None"]),
        ("choice([True, False])", ["True", "False"]),
        ("choice(['a', 'b'])", ["'a'", "'b'"]),
        ("choice(options=[Dropout(.5), Activation('linear')])",
         ["Dropout(0.5)", "Activation('linear')"]),
        ("choice(SIZES)", [4, 8]),
        ("hp.choice([-1, +1])", [-1, 1]),
        ("choice(range(10, 150, 50))", [10, 60, 110]),
        ("choice(list(range(3)))", [0, 1, 2]),
        ("choice(np.arange(8, 12))", [8, 9, 10, 11]),
        ("choice(np.arange(0.5, 2, step=0.5).tolist())", [0.5, 1.0, 1.5]),
        ("choice(np.linspace(0, 1, 3))", [0.0, 0.5, 1.0]),
        ("choice(np.linspace(8, 16, num=2))", [8.0, 16.0]),
        ("choice([2 ** i for i in (3, 4)] + [100])", [8, 16, 100]),
        ("choice([10 * i for i in SIZES])", [40, 80]),
        ("choice([*SIZES, 16])", [4, 8, 16]),
        ("choice(list(LAYERS.keys()))", ["'dense'", "'lstm'"]),
        ("choice(list(LAYERS))", ["'dense'", "'lstm'"]),
        ("pchoice([(0.5, a), (0.25, b), (0.25, a)])", ["a", "b"]),
        ("pchoice([(0.25, 16), (0.75, LSTM)])", ["16", "LSTM"]),
        ("randint(3)", [0, 1, 2]),
        ("randint(5, 8)", [5, 6, 7]),
        ("randint(low=5, high=8)", [5, 6, 7]),  # breaks Hyperopt's TPE
        ("uniformint(2, 4)", [2, 3, 4]),
        ("quniform(2, 11, 4)", [4, 8]),  # Hyperopt draws 12, and 4 less often
        ("quniform(10, 100, 20)", [20, 40, 60, 80, 100]),
        ("quniform(0, 0.3, 0.1)", [0.0, 0.1, 0.2, 0.3]),
        ("quniform(16.0, 48, q=16)", [16, 32, 48]),
        ("quniform(-4, 4, 4)", [-4, 0, 4]),
        ("quniform(3, 5, 4)", [4]),
        ("qloguniform(0, log(20), 5)", [5, 10, 15, 20]),
        ("qloguniform(-25, log(3), 1)", [1, 2, 3]),
        ("randint(1600000000000, 1600000000003)", [1600000000000 + i for i in range(3)]),
        ("quniform(10**12, 10**12 + 2, 1)", [10**12, 10**12 + 1, 10**12 + 2]),
    ],
)  # fmt: skip
def test_a_distribution_has_these_values(text: str, values: list[object]) -> None:
    found = dimension(text, SIZES="[4, 8]", LAYERS="{'dense': Dense, 'lstm': LSTM}").values()
    assert found == values
    assert list(map(type, found or [])) == list(map(type, values))


@pytest.mark.parametrize(
    "text",
    ["uniform(0, 1)", "quniform(1, 9, 2)", "loguniform(-7, 0)", "normal(0, 1)", "lognormal(0, 1)",
     "qlognormal(1, 1, 1)", "choice([1, 2])", "choice([a, b])", "pchoice([(0.5, a), (0.5, b)])"],
)  # fmt: skip
def test_hyperopt_draws_what_can_be_decoded(text: str) -> None:
    import hyperopt

    found = dimension(text)
    for seed in range(20):
        raw = hyperopt.pyll.stochastic.sample(found.expression(), rng=np.random.default_rng(seed))
        value = found.decode(float(raw))
        assert value in found
        assert found.decode(found.encode(value)) == value


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3", ["found {{3}}", "choice([16, 32])"]),
        ("{1, 2}", ["found {{{1, 2}}}", "expected a distribution"]),
        ("unifrom(0, 1)", ["'unifrom'", "did you mean 'uniform'?", "possible: choice, pchoice"]),
        ("uniform(0)", ["found uniform(0)", "expected uniform(low, high)"]),
        ("uniform(0, hihg=1)", ["expected uniform(low, high)"]),
        ("uniform(*ends)", ["expected uniform(low, high)"]),
        ("uniform(1, 1)", ["from 1 to 1", "the low end below the high"]),
        ("uniform('a', 1)", ["low of uniform is \"'a'\"", "expected a number"]),
        ("uniform(0, x)", ["high of uniform is 'x'", "expected a number"]),
        ("uniform(0, True)", ["high of uniform is 'True'", "expected a number"]),
        ("uniform(0, 9 ** 9 ** 9 ** 9)", ["high of uniform", "expected a number"]),
        ("uniform(0, log(-1))", ["high of uniform", "expected a number"]),
        ("uniform(0, A)", ["high of uniform is 'A'", "expected a number"]),
        ("quniform(0, 10, 0)", ["q of quniform is 0", "above 0"]),
        ("quniform(1, 3, 4)", ["no multiple of 4", "expected one at least"]),
        ("quniform(0, 1, 1e-7)", ["10,000,000 steps", "at most 100,000"]),
        ("randint(0)", ["no multiple of 1"]),
        ("randint(0.5, 3)", ["from 0.5 to 3", "whole numbers"]),
        ("uniformint(1, 2.5)", ["from 1 to 2.5", "whole numbers"]),
        ("loguniform(1, 1000)", ["takes logarithms", "loguniform(log(0.0001), log(0.1))"]),
        ("normal(0, 0)", ["sigma of normal is 0", "above 0"]),
        ("lognormal(0, 1000)", ["takes logarithms", "lognormal(-7, 2)"]),
        ("quniform(0, 1e300, 1e-300)", ["is too wide: expected numbers nearer"]),
        ("choice([])", ["options of choice are '[]'", "a list such as [16, 32]"]),
        ("choice([*a, 16])", ["options of choice are '[*a, 16]'"]),
        ("choice(16, 32)", ["expected choice(options)"]),
        ("choice(sizes())", ["options of choice are 'sizes()'", "a list such as [16, 32]"]),
        ("choice(range(10 ** 9))", ["options of choice are 'range(10 ** 9)'"]),
        ("choice(np.arange(1, 9, 1e-9))", ["options of choice are 'np.arange("]),
        ("choice(np.linspace(0, 1, 10 ** 9))", ["options of choice are 'np.linspace("]),
        ("choice([0] * 10 ** 9)", ["options of choice are '[0] * 10 ** 9'"]),
        ("pchoice([1, 2])", ["pchoice have '1'", "pairs such as (0.3, 16)"]),
        ("pchoice([(0.3, 1), (0.3, 2)])", ["shares of pchoice are 0.3, 0.3", "1 in all"]),
        ("pchoice([(0, 1), (1, 2)])", ["shares of pchoice are 0, 1", "above 0"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_distribution_is_said(text: str, named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        dimension(text, A="B", B="A")
    for part in named:
        assert part in str(caught.value)
