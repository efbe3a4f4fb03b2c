"""The world: environments behind one vector protocol. Knows nothing of the trainer."""
