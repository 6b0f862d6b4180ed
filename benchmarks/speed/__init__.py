"""Who is compared by `benchmarks/training.py`; each file is run in processes of its own."""
