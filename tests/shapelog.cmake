unit(shapelog USES shapelog)
unit(shapelog_damage USES shapelog)
