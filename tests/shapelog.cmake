unit(shapelog USES shapelog)
