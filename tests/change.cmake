unit(change ONE_THREAD USES change)
fuzz(pgoutput USES change)
