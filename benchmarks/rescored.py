"""The best network of a sweep on more validation targets than the sweep has scored it on."""

from __future__ import annotations

from pathlib import Path


def rescored(sweep: str, store: Path, count: int) -> tuple[int, float]:
    """Validation targets and the loss on them in nats, of the network that a sweep has found best.

    A sweep chooses the best round of the best of many trials by a few thousand targets. So its loss
    is lower than that of the same network on others, and uncertain by the draw of the targets: by
    0.03 nats where the loss of a symbol has a deviation of 1.5 and 2,304 are scored. The folder
    `store` has the sweep; the targets are at most `count`, or all.
    """
    import lstm_sweep
    from lstm_sweep._store import settings_of
    from lstm_sweep.models.bundle import bundle as bundles
    from lstm_sweep.models.data.windows import scoring_targets
    from lstm_sweep.models.network.evaluation import evaluate
    from lstm_sweep.search.results.export import choose
    from lstm_sweep.search.results.generate import predictor_of
    from lstm_sweep.search.store import archive
    from lstm_sweep.search.store.tracking import Store
    from lstm_sweep.search.sweep.same_corpus import load_same_corpus

    record = choose(Store(settings_of(store)), sweep)
    source, scoring = archive.read_source(record)
    corpus = load_same_corpus(source, record)
    model = lstm_sweep.sweep(sweep, store=store).best.export(store / "rescored")
    folder, bundle = bundles.read(str(model.folder))
    targets = scoring_targets(corpus.validation, count, scoring.seed)
    predictor = predictor_of(folder, bundle, seed=0)
    found = evaluate(predictor, bundle.config, corpus, corpus.validation, targets)
    return len(targets), found["loss"]
