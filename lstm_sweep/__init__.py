"""Hyperparameter search for LSTM sequence models."""
