/*
 * Electric's names in the environment, for who moves a deployment from it: a
 * variable that means the same as a setting of ours sets it; ours counts
 * before it. What has no counterpart is named, so that nobody trusts in it.
 */
#ifndef SETTINGS_ELECTRIC_H
#define SETTINGS_ELECTRIC_H

#include "settings/setting.h"

/* The variable of Electric's that means the same as the setting, or NULL. */
const char *electric_name(const struct setting *setting);
/* What it is set to, added to `value` as setting_parse() takes it; false, and nothing added, when
 * there is no such variable, or it is not set or empty. */
bool electric_value(const struct setting *setting, struct buf *value);

#endif
