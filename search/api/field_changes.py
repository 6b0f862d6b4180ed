"""Other values for fields of a trial's config, as `rerun --set` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lstm_sweep.models.config import FIELDS, LIMITS, check_field
from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.spaces.by_corpus import ByCorpus
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.field_values import parse


def field_changes(settings: Iterable[str]) -> dict[str, Any]:
    """The fields and values of `FIELD=VALUE`, each with one value.

    Raises:
        InputError: a setting has another form, an unknown field, or a value outside its limits.
    """
    return dict(_change(setting) for setting in settings)


def _change(setting: str) -> tuple[str, Any]:
    name, equals, value = setting.partition("=")
    where = f"--set {cut(setting)}"
    if not equals:
        raise InputError(f"{where}: expected FIELD=VALUE; fields: {', '.join(FIELDS)}")
    try:
        check_field(name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    dimension = parse(name, value, where)
    if isinstance(dimension, ByCorpus):
        raise InputError(f"{where}: expected {LIMITS[name]}")
    if not isinstance(dimension, Listed) or len(dimension.options) != 1:
        raise InputError(f"{where}: found several values, expected one")
    return name, dimension.options[0]
