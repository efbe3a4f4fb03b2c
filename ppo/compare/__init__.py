"""From runs to a verdict: what differs between two arms, how sure that is, and how many seeds would settle it."""
