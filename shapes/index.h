/*
 * Which shapes a change may be for. Shapes whose clause asks a column to be
 * one of some values are found by hash of the row's value, however many they
 * are; the others of the same table are all candidates. A candidate still has to
 * be asked (shape_effect()).
 *
 * Belongs to one thread. Entries are the caller's: the index holds the shape
 * and an opaque pointer.
 */
#ifndef SHAPES_INDEX_H
#define SHAPES_INDEX_H

#include "change/change.h"
#include "shapes/shape.h"

struct shape_index;

struct shape_index *shape_index_new(void);
void shape_index_free(struct shape_index *index);

/* `owner` comes back from shape_index_find(); the shape must outlive its entry. */
void shape_index_add(struct shape_index *index, const struct shape *shape, void *owner);
/* No effect where it is not there. */
void shape_index_remove(struct shape_index *index, const struct shape *shape, void *owner);
size_t shape_index_len(const struct shape_index *index);

/* Every owner that the change (of table `relid`, tuples in the table's column order) may concern,
 * each once, in an array in the scratch arena. */
void **shape_index_find(struct shape_index *index, uint32_t relid, const struct change *change,
                        struct arena *scratch, size_t *n);

/* Every owner with a shape on the table. */
void **shape_index_table(struct shape_index *index, uint32_t relid, struct arena *scratch,
                         size_t *n);

#endif
