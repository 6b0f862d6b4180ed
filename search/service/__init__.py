"""The service: queues sweeps, starts their drivers, and answers over HTTP."""
