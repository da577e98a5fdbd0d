/*
 * The rules in force. They are read from the file at the start and whenever
 * rules_site_reread() says so (SIGHUP), by a thread that may read files; held
 * against the catalogue by rules_site_look(), on a thread that has a
 * connection; and taken from here, by reference, for each request.
 *
 * Rules that are wrong are told with their line, and the ones before stay.
 * While none have been right yet (Postgres was away at the start) nothing is
 * written, and they are held against the catalogue again and again.
 */
#ifndef RULES_SITE_H
#define RULES_SITE_H

#include "rules/rules.h"

#include <stdatomic.h>

struct rules_site;

/* Reads the file ("" : there is none, and no rules). NULL with ERR_CONFIG, "path:line: ...".
 * Until rules_site_look() has held them against the catalogue, shapes are there and nothing is
 * written. `path` is copied. */
struct rules_site *rules_site_open(const char *path, struct err *err) MUST_CHECK;
/* No other call may be under way; rules that callers hold live on. */
void rules_site_close(struct rules_site *site); /* NULL is allowed */

/* Reads the file again, or another; what it says counts from the next look on. False with
 * ERR_CONFIG: it is wrong, and nothing changes. Any thread. */
bool rules_site_reread(struct rules_site *site, const char *path, struct err *err) MUST_CHECK;
/* The tables may not be what they were: the next look holds the rules against them. Any thread. */
void rules_site_doubt(struct rules_site *site);
/* Whether a look is due. Any thread. */
bool rules_site_is_due(const struct rules_site *site);
/* Holds what was read, or what is in force and in doubt, against the catalogue. Blocks; one thread
 * at a time. ERR_CONFIG: it is wrong; what was read since is dropped. Any other code: Postgres
 * could not be asked, and the look stays due. */
bool rules_site_look(struct rules_site *site, struct pg_conn *conn, struct err *err) MUST_CHECK;

/* Why nothing can be written, for the rules have not been found right yet. False: they have, or
 * nobody may write. Any thread. */
bool rules_site_trouble(struct rules_site *site, char text[256]);

/* Changes whenever other rules come into force; for as long as the site. */
const atomic_uint *rules_site_version(const struct rules_site *site);
/* The rules in force, with a reference that is the caller's. Any thread. */
struct rules *rules_site_get(struct rules_site *site) MUST_CHECK;

#endif
