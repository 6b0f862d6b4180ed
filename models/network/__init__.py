"""Keras networks: built from a config, trained, checkpointed."""
