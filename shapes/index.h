/*
 * Which shapes a change may be for. Shapes whose clause asks a column to be
 * one of some values are found by hash of the row's value, however many they
 * are; the others of the same table are all candidates. A candidate still has to
 * be asked (shape_effect()).
 *
 * Belongs to one thread. Entries are the caller's, who has them as the first
 * member of what it keeps of the shape, and gets them back when it asks.
 */
#ifndef SHAPES_INDEX_H
#define SHAPES_INDEX_H

#include "change/change.h"
#include "shapes/shape.h"

struct shape_index;

struct shape_entry {
    const struct shape *shape; /* set before it is added; must outlive it */
    uint32_t at_all, at_scan;  /* the index's own: places in its lists */
};

struct shape_index *shape_index_new(void);
void shape_index_free(struct shape_index *index);

/* The entry must stay where it is until it is removed. */
void shape_index_add(struct shape_index *index, struct shape_entry *entry);
void shape_index_remove(struct shape_index *index, struct shape_entry *entry);
size_t shape_index_len(const struct shape_index *index);

/* Every entry that the change (of table `relid`, tuples in the table's column order) may concern,
 * each once, in an array in the scratch arena. */
struct shape_entry **shape_index_find(struct shape_index *index, uint32_t relid,
                                      const struct change *change, struct arena *scratch,
                                      size_t *n);

/* Every entry with a shape on the table. */
struct shape_entry **shape_index_table(struct shape_index *index, uint32_t relid,
                                       struct arena *scratch, size_t *n);

#endif
