"""What can be done with sweeps, here or by a service, with the same values and the same errors."""
