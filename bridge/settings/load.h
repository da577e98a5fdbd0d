/*
 * The file alone, for this room's tests and its fuzz target.
 */
#ifndef SETTINGS_LOAD_H
#define SETTINGS_LOAD_H

#include "settings/config.h"

/* Defaults, and over them what the file says; `path` is for messages. What concerns several
 * settings (a database, a secret) is not checked. On failure the config is empty. */
bool config_read_file(struct config *config, FILE *file, const char *path,
                      struct err *err) MUST_CHECK;

#endif
