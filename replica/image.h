/*
 * Rows outside of their table, as JSON of Postgres's texts: what a local write changed, and the
 * server's row behind one with pending writes. By column names, so that they outlive a change of
 * the table.
 *
 *     image   {"id":"1","name":null}   the columns that are known
 *     row     ["1"]                    the key's columns in the key's order: names the row. Where
 *                                      the key's collation is coarse, in lower case: two spellings
 *                                      are one row
 */
#ifndef REPLICA_IMAGE_H
#define REPLICA_IMAGE_H

#include "replica/table.h"

/* The cells that are present; of the key's columns alone where `key_only`. */
char *lite_image_make(const struct lite_schema *s, const struct lite_cell *cells, bool key_only,
                      struct arena *arena);
/* Sets the cells that the image has, the others are left. Columns that the schema does not know
 * are passed over. Texts are in the arena. */
bool lite_image_read(const char *image, const struct lite_schema *s, struct lite_cell *cells,
                     struct arena *arena, struct err *err) MUST_CHECK;

/* The row that has these cells; the key's are present. */
char *lite_row_make(const struct lite_schema *s, const struct lite_cell *cells,
                    struct arena *arena);
/* Sets the key's cells alone. */
bool lite_row_read(const char *row, const struct lite_schema *s, struct lite_cell *cells,
                   struct arena *arena, struct err *err) MUST_CHECK;

#endif
