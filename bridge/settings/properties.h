/*
 * Properties of librdkafka: [kafka] property.NAME in tombolo.ini, TOMBOLO_KAFKA_PROPERTY_NAME with
 * _ for each dot in the environment. Which of them there are librdkafka says, when it is given
 * them. Private to this room.
 */
#ifndef SETTINGS_PROPERTIES_H
#define SETTINGS_PROPERTIES_H

#include "settings/config.h"

/* What stands behind "property." of [kafka], or NULL. */
const char *properties_name(const char *section, const char *name);
/* In place of what the name had. False when the name is empty or has other characters than small
 * letters, digits, dots, dashes and underscores. */
bool properties_set(struct config_properties *properties, const char *name,
                    const char *value) MUST_CHECK;
void properties_read_env(struct config_properties *properties);
bool properties_equal(const struct config_properties *a, const struct config_properties *b);
/* False for one on which rests that nothing is lost and nothing twice. */
bool properties_check(const struct config_properties *properties, struct err *err) MUST_CHECK;
/* "[kafka] property.NAME = VALUE" a line, secrets masked. */
void properties_print(const struct config_properties *properties, FILE *out);
void properties_free(struct config_properties *properties);

#endif
