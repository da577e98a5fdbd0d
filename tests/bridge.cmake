# Rooms between the stream and the clients.
unit(sync_request USES http)
unit(refusals USES http)
unit(copytext USES pg)
unit(stop USES pg)
unit(wal USES wal)
unit(fanout USES fanout)
fuzz(sync_body USES http)
fuzz(copytext USES pg)
