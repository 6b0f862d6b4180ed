"""Exported models: format, generation, anomalies."""
