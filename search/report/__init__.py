"""Pages and drawings as texts: pure functions of values, without a store and without scripts."""
