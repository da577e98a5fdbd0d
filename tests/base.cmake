unit(base USES base)
