unit(base ONE_THREAD USES base)
