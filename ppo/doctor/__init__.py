"""From the numbers of a run to a diagnosis: what was seen, where, why it is believed, what to type."""
