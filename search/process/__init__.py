"""What concerns this process: signals, secrets, folders, output."""
