"""One file a slot: the abstract class that a component of the slot extends."""
