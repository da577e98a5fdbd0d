unit(change USES change)
fuzz(pgoutput USES change)
