/*
 * That the topics cannot go on with what they have: a file in the data folder, since the brokers
 * may be away when it is found out, and by the time they are back the server may look as if nothing
 * had happened.
 */
#ifndef KAFKA_ANEW_H
#define KAFKA_ANEW_H

#include "base/err.h"

#include <stdbool.h>

/* Durable when it returns true. */
bool anew_note(const char *data_dir, struct err *err) MUST_CHECK;
bool anew_is_noted(const char *data_dir);
/* The topics have begun anew. A note that stays makes them do so once more, which a warning says.
 */
void anew_forget(const char *data_dir);

#endif
