/*
 * The replica's hot path: a message of the stream into its table. SQLite's own work is counted too.
 */
#include "hot.h"
#include "../unit/replica_kit.h"

#define ROWS 2000
#define A_COMMIT 100

/* Updates of all rows; `round` makes the values others. */
static void say_rows(struct kit *k, const char *op, int round)
{
    for (int i = 0; i < ROWS; i++) {
        char name[64];

        snprintf(name, sizeof(name), "a name of some length, round %d", round);
        say_item(k, 0, op, i, name, round);
        if (i % A_COMMIT == A_COMMIT - 1)
            say_commit(k, (uint64_t)(round * ROWS + i + 1) * 10);
    }
}

struct feeding {
    struct kit *kit;
    struct replica *replica;
};

static void feed_all(void *arg)
{
    struct feeding *f = arg;

    kit_feed(f->kit, f->replica);
}

int main(void)
{
    struct kit k;

    kit_init(&k);
    struct replica *r = kit_open(&k, "items", NULL);
    struct feeding feeding = {&k, r};

    kit_request(&k, r);
    say_open(&k, 0, "h1", ITEMS, true);
    say_snapshot_end(&k, 0);
    say_commit(&k, 5);
    say_rows(&k, "insert", 1);
    kit_feed(&k, r);
    say_rows(&k, "update", 2);
    kit_feed(&k, r);
    say_rows(&k, "update", 3);
    hot_say("apply", ROWS);
    hot_measure(feed_all, &feeding);
    assert_answer(&k, "SELECT count(*) FROM items WHERE qty = 3", "2000");
    replica_close(r);
    kit_release(&k);
    return 0;
}
