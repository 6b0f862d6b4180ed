"""What has to be extended for a new optimizer or a new field of a config is extended everywhere."""

from __future__ import annotations

import pytest

from lstm_sweep.models.config import FIELDS, OPTIMIZERS, TrialConfig

CONFIG = TrialConfig(layer_size=128, sequence_length=40)
#: fields that `Form` depends on, each with a value that gives another form than `CONFIG`
IN_FORM = {
    "direction": "bi",
    "dropout": 0.1,
    "layers": 3,
    "layer_size": 16,
    "sequence_length": 39,
    "embedding_size": 8,
    "precision": "bfloat16",
}
#: all other fields, each with a value that gives the form of `CONFIG`
ELSEWHERE = {
    "learning_rate": 0.5,  # a variable that the graph reads
    "optimizer": "adam",  # in the name of the training graph
    "batch_size": 3,  # the shape of an input of the graph
    "stride": 5,  # where windows begin
    "offset": "fixed",  # the same
    "epochs": 2,  # number of passes
}


def test_the_graphs_on_a_cpu_depend_on_a_field_or_it_takes_effect_elsewhere() -> None:
    """The CPU kernels ignore a field that is neither in `Form` nor an input, without an error."""
    assert sorted([*IN_FORM, *ELSEWHERE]) == sorted(FIELDS)


@pytest.mark.parametrize("field", IN_FORM)
def test_another_value_of_a_field_in_the_form_gives_another_form(field: str) -> None:
    from lstm_sweep.models.fast.forward import Form

    other = CONFIG.evolve(**{field: IN_FORM[field]})
    assert Form.of(other, 9) != Form.of(CONFIG, 9)


@pytest.mark.parametrize("field", ELSEWHERE)
def test_networks_that_differ_in_another_field_share_their_form(field: str) -> None:
    from lstm_sweep.models.fast.forward import Form

    other = CONFIG.evolve(**{field: ELSEWHERE[field]})
    assert other != CONFIG
    assert Form.of(other, 9) == Form.of(CONFIG, 9)


def test_each_optimizer_has_a_class_of_keras_and_a_kernel_for_a_cpu() -> None:
    from lstm_sweep.models.fast.optimizer import KERNELS
    from lstm_sweep.models.network.lstm import OPTIMIZER_CLASSES

    assert set(OPTIMIZER_CLASSES) == set(OPTIMIZERS)
    assert set(KERNELS) == set(OPTIMIZER_CLASSES.values())
