"""What a softmax over drawn words gains beside one over all, for the same time of a core.

    python -m benchmarks.softmax TEXT

Validation losses over all of 20,000 words: drawn by frequency, drawn in any order, and not drawn.
"""

import sys
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lstm_sweep.models import backend
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import StepWindows
from lstm_sweep.models.scoring import log_softmax

CONFIG = TrialConfig(
    layers=1, layer_size=128, embedding_size=64, batch_size=32, optimizer="adam", learning_rate=3e-3
)
BOUND, WIDTH = np.zeros((20, CONFIG.batch_size), np.int32), CONFIG.sequence_length + 1

if __name__ == "__main__":
    backend.prepare(gpu=False, seed=0)
    from lstm_sweep.models.cpu import forward
    from lstm_sweep.models.network import lstm, program

    corpus = load(Source(data=sys.argv[1], symbols="words", vocabulary=20_000))
    parts, size = (corpus.train, corpus.validation), len(corpus.alphabet)
    codes = np.arange(size, dtype=np.int32)
    orders = codes, *[np.random.default_rng(0).permutation(codes)] * 2
    for name, order in zip(("by frequency", "in any order", "over all"), orders, strict=True):
        vars(forward)["SAMPLED_FROM"] = size + (name == "over all")
        train, validation = (sliding_window_view(order[one.codes], WIDTH) for one in parts)
        networks, rng = lstm.build(CONFIG, size), np.random.default_rng(0)
        lstm.compile_for_training(networks.trained, CONFIG)
        network, spent, steps = program.program_of(networks, CONFIG, seed=0), 0.0, 0
        scored = validation[np.linspace(0, len(validation) - 1, 256, dtype=int)]
        for seconds in (22.5, 45.0, 90.0):
            while spent < seconds:
                windows = train[rng.integers(0, len(train), BOUND.shape)]
                began, steps = time.process_time(), steps + len(BOUND)
                network.train(StepWindows(windows, BOUND))
                spent += time.process_time() - began
            network.sync()
            predicted = log_softmax(network.last_logits(scored[:, :-1], 20))
            loss = -np.take_along_axis(predicted, scored[:, -20:, None], -1).mean()
            print(f"{name}: {spent:.0f} s, {steps:,} steps, validation loss {loss:.3f}", flush=True)
