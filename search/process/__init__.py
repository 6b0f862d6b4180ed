"""The operating system's side: processes, signals, secrets, folders, output."""
