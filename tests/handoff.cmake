unit(handoff USES shapelog)
