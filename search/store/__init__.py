"""MLflow: where runs are kept, written and read."""
