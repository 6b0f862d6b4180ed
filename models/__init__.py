"""What is trained, and on what: configs, corpora, windows, networks, baselines, bundles."""
