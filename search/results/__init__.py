"""What is done with a finished sweep: rerun, export, generate, detect."""
