"""A test of one module stands where that does, under its name: search/trial.py, test_trial.py.

A module without one is named in `WITHOUT`, with the reason.

Tests that are too many for one file are several by subject, such as `test_policy_ladder.py` and
`test_policy_memory.py` of policy.py; what they share is a module beside them. The `_` around the
name of a module are left out: lstm_sweep/_launch.py, test_launch.py.
"""

from __future__ import annotations

from fnmatch import filter as filter_names
from fnmatch import fnmatch
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
PACKAGES = ("lstm_sweep", "models", "spaces", "search", "benchmarks")
FILES = sorted(
    file.relative_to(UNIT).as_posix()
    for package in PACKAGES
    for file in (UNIT / package).rglob("*.py")
)
TESTS = [file for file in FILES if Path(file).name.startswith("test_")]
HELPERS = [file for file in FILES if file not in TESTS]
MODULES = sorted(
    module.relative_to(ROOT).as_posix().removesuffix(".py")
    for package in PACKAGES
    # the other folders in lstm_sweep are links
    for module in (ROOT / package).glob("*.py" if package == "lstm_sweep" else "**/*.py")
    if module.name != "__init__.py"
)
#: modules without a unit test under their own name, by the reason; `*` are all of a folder
WITHOUT = {
    "measurements, run by hand": """
        benchmarks/*""",
    "it needs Keras, TensorFlow or ONNX Runtime: contract tests": """
        models/fast/* models/network/* models/template/*
        models/{backend,keras_import}
        models/bundle/{anomalies,bundle,by_symbol,clean_process,onnx_check,template}
        search/engines/{preload,trainings}
        search/results/{detect,generate}
        search/sweep/{best_model,bundle_parity,logged_network,template_bundle}""",
    "it reads or writes a store: contract and acceptance tests with a real one": """
        search/api/{preparation,queue,references,report,sweep_result,listings}
        search/results/register
        search/store/{archive,mlflow_setup,model_folder,run_kind,tags,tracking}
        search/store/{trial_end,trial_record,values,versions}
        search/sweep/{closing,continuation,loop,own_templates,past_sweeps,result_files}
        search/sweep/{same_corpus,stored_findings,stored_report,sweep,tasks}""",
    "it starts processes or talks to a cluster: contract tests with real ones": """
        search/engines/{base,inline,memory,ray_corpora,ray_count,ray_fleet}
        search/process/{forkserver,isolated,muted,secrets}""",
    "a part of the service: tests of its routes, and contract tests with a real one": """
        search/service/{audit,client_file,description,driver,metrics,printed}
        search/service/{service,shares,shown,site,sweep_service}
        search/service/pages/{forms,rendering} search/service/routes/exports""",
    "what users type and read: contract and acceptance tests of the program": """
        lstm_sweep/{__main__,_model,_progress,_sweep,_trial}
        search/api/{field_changes,job_log} search/arguments
        search/commands/{afar_files,afar_launch,afar_printing,afar_spec,afar_trials,dry_run,exits}
        search/commands/{json_lines,launch,lifecycle,model_arguments,models,report,rerun_verdict}
        search/commands/{serve_arguments,token_arguments,trials}
        search/texts/{dry_run,exported,sizes,sweeps,tables,trials,verdict}""",
    "a part or a value of what stands beside it, whose unit tests use it": """
        models/data/{reader,sessions} models/{field_checks,strict_json}
        search/{device,engine_names,objective,progress}
        search/pages/{figure,figures,findings,frame}
        search/policy/{plan,problem,report,reserve}
        search/sweep/{events,history,making_room,observer}
        spaces/{field_values,preset_names}
        spaces/template/{config,dimensions,file,keras2_table,placeholders,scopes,static_eval}
        spaces/template/syntax""",
}


def test_there_are_tests_of_each_package() -> None:
    assert {test.partition("/")[0] for test in TESTS} == set(PACKAGES)


def modules_of(test: str) -> list[Path]:
    """Modules that a test file may be of: by its whole name, or by the first words of it."""
    folder, _, name = test.removesuffix(".py").rpartition("/")
    words = name.split("_")[1:]
    names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
    return [module for module in (ROOT / folder).glob("*.py") if module.stem.strip("_") in names]


@pytest.mark.parametrize("test", TESTS)
def test_a_test_stands_at_the_place_of_its_module(test: str) -> None:
    assert modules_of(test), f"found no module of {test}"


def expanded(patterns: str) -> list[str]:
    """Patterns of modules, with one for each name in braces."""
    found = []
    for pattern in patterns.split():
        head, opened, names = pattern.partition("{")
        found += [head + name for name in names.rstrip("}").split(",")] if opened else [head]
    return found


def test_a_module_has_a_unit_test_or_a_reason() -> None:
    tested = {
        module.relative_to(ROOT).as_posix().removesuffix(".py")
        for test in TESTS
        for module in modules_of(test)
    }
    patterns = [pattern for group in WITHOUT.values() for pattern in expanded(group)]
    untested = [module for module in MODULES if module not in tested]
    assert len(untested) > 100
    for module in untested:
        assert any(fnmatch(module, one) for one in patterns), f"{module}: no unit test, no reason"
    for pattern in patterns:
        assert filter_names(MODULES, pattern), f"{pattern}: no such module"


def test_what_is_no_test_is_shared_by_tests_beside_it() -> None:
    for helper in HELPERS:
        module = f"tests.unit.{helper.removesuffix('.py').replace('/', '.')}"
        beside = (UNIT / helper).parent.glob("test_*.py")
        users = [t for t in beside if f"from {module} import" in t.read_text(encoding="utf-8")]
        assert len(users) > 1, f"{helper}: imported beside it by {len(users)}, expected several"
