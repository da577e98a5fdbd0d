/*
 * The shape log against crashes and bad disks. Whatever is cut, flipped, missing or killed: what is
 * read afterwards is a prefix of the truth, or the log has ended.
 */
#include "sanitized.h"
#include "test_shapelog_fixture.h"
#include "base/hash.h"
#include "shapelog/block.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Every byte of every file; not where threads are looked at, and there are none. */
#define STEP (UNDER_TSAN ? 11u : 1u)

/* ---- files ----------------------------------------------------------------------------------- */

struct file {
    char path[512];
    char *bytes;
    size_t len;
};

static struct file load_file(const char *path)
{
    struct file file = {0};
    struct stat st;
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    snprintf(file.path, sizeof(file.path), "%s", path);
    file.len = (size_t)st.st_size;
    file.bytes = malloc(file.len + 1);
    assert_int_equal(read(fd, file.bytes, file.len), file.len);
    close(fd);
    return file;
}

static void store_file(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

/* All files of the store, to be put back before each round. */
struct image {
    struct file files[32];
    size_t n;
};

static void load_folder(struct image *image, const char *dir, const char *folder)
{
    struct dirent *entry;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, folder);
    DIR *files = opendir(path);
    assert_non_null(files);
    while ((entry = readdir(files))) {
        snprintf(path, sizeof(path), "%s/%s/%s", dir, folder, entry->d_name);
        struct stat st;

        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            image->files[image->n++] = load_file(path);
    }
    closedir(files);
}

static struct image load_image(const char *dir)
{
    struct image image = {0};

    load_folder(&image, dir, ".");
    load_folder(&image, dir, "segments");
    load_folder(&image, dir, "snapshots");
    return image;
}

static void free_image(struct image *image)
{
    for (size_t i = 0; i < image->n; i++)
        free(image->files[i].bytes);
}

static void restore(const struct image *image, const char *dir)
{
    char path[128];

    remove_folder(dir);
    assert_int_equal(mkdir(dir, 0750), 0);
    snprintf(path, sizeof(path), "%s/segments", dir);
    assert_int_equal(mkdir(path, 0750), 0);
    snprintf(path, sizeof(path), "%s/snapshots", dir);
    assert_int_equal(mkdir(path, 0750), 0);
    for (size_t i = 0; i < image->n; i++)
        store_file(image->files[i].path, image->files[i].bytes, image->files[i].len);
}

/* ---- a small run ----------------------------------------------------------------------------- */

#define LOGS 3u

struct run {
    char dir[64];
    struct image image;
    char handles[LOGS][64];
    char *truth[LOGS];
    char *rows[LOGS];
    lsn_t durable;
};

static void write_run(struct shapelog *store, struct log *logs[LOGS])
{
    struct lane *lane = shapelog_lane_new(store);
    struct err err;
    char text[64];

    for (lsn_t lsn = 100; lsn < 180; lsn += 10) {
        begin(store, lsn);
        for (unsigned op = 0; op < 4; op++) {
            snprintf(text, sizeof(text), "m%llu.%u", (unsigned long long)lsn, op);
            if (op == 2)
                assert_ok(shapelog_append(store, lane, slice_of(text), op, logs, LOGS, &err), err);
            else
                append(store, lane, text, op, logs[(lsn / 10 + op) % LOGS]);
        }
        if (lsn == 120) { /* a void attempt that had been written, then its replay */
            shapelog_rollback(store);
            begin(store, lsn);
            append(store, lane, "replayed", 0, logs[0]);
        }
        commit(store, lsn);
        publish(store, lsn);
    }
    shapelog_lane_free(store, lane);
}

/* Three logs, eight transactions, a sealed segment and more, all synced. */
static struct run make_run(void)
{
    struct run run = {0};
    struct log *logs[LOGS];

    make_fast_folder(run.dir);
    struct shapelog *store = open_store(run.dir, 700);

    for (unsigned i = 0; i < LOGS; i++) {
        logs[i] = new_live_log(store, i, i == 2 ? 100 : 90);
        copy_handle(logs[i], run.handles[i]);
    }
    write_run(store, logs);
    wait_durable(store, 175);
    run.durable = 175;
    for (unsigned i = 0; i < LOGS; i++) {
        run.truth[i] = read_log(store, logs[i]);
        run.rows[i] = read_snapshot(store, logs[i]);
        log_unref(logs[i]);
    }
    shapelog_close(store);
    run.image = load_image(run.dir);
    return run;
}

static void free_run(struct run *run)
{
    remove_folder(run->dir);
    free_image(&run->image);
    for (unsigned i = 0; i < LOGS; i++) {
        free(run->truth[i]);
        free(run->rows[i]);
    }
}

/* Whether `text` is the truth up to the end of a transaction. */
static bool is_prefix(const char *text, const char *truth)
{
    size_t len = strlen(text);

    return strncmp(text, truth, len) == 0 && (truth[len] == '\0' || truth[len] == '[');
}

/* Opens, reads everything, checks it; returns how many logs had all of the truth. `all_or_ended`:
 * what was there had been confirmed to Postgres, so a mere prefix would be a loss. */
static unsigned check_run(const struct run *run, bool all_or_ended)
{
    struct shapelog *store = open_store(run->dir, 700);
    unsigned whole = 0;

    for (unsigned i = 0; i < LOGS; i++) {
        struct log *log = bind_again(store, run->handles[i], i);
        char *text = log ? read_log(store, log) : NULL;
        char *rows = log ? read_snapshot(store, log) : NULL;

        if (text)
            assert_true(is_prefix(text, run->truth[i]));
        if (text && rows && all_or_ended && log_state(log) != LOG_ENDED)
            assert_string_equal(text, run->truth[i]);
        if (rows)
            assert_string_equal(rows, run->rows[i]);
        whole += text && rows && strcmp(text, run->truth[i]) == 0;
        free(text);
        free(rows);
        log_unref(log);
    }
    shapelog_close(store);
    return whole;
}

static bool is_ours(const char *path)
{
    return strstr(path, ".seg") || strstr(path, ".snap");
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_an_undamaged_run_is_all_there(void **state)
{
    struct run run = make_run();
    unsigned segments = 0;

    (void)state;
    for (size_t i = 0; i < run.image.n; i++)
        segments += strstr(run.image.files[i].path, ".seg") != NULL;
    assert_true(segments >= 2);
    assert_int_equal(check_run(&run, true), LOGS);
    assert_int_equal(check_run(&run, true), LOGS); /* and again */
    free_run(&run);
}

static void test_a_file_cut_anywhere_loses_logs_never_rows(void **state)
{
    struct run run = make_run();
    unsigned rounds = 0;

    (void)state;
    for (size_t i = 0; i < run.image.n; i++) {
        const struct file *file = &run.image.files[i];

        for (size_t len = 0; is_ours(file->path) && len < file->len; len += STEP) {
            restore(&run.image, run.dir);
            store_file(file->path, file->bytes, len);
            unsigned whole = check_run(&run, true);

            assert_true(whole < LOGS);
            assert_true(whole == LOGS - 1 || strstr(file->path, ".seg"));
            rounds++;
        }
    }
    assert_true(rounds > 1000 / STEP);
    free_run(&run);
}

static void test_a_byte_flipped_anywhere_loses_logs_never_rows(void **state)
{
    struct run run = make_run();
    unsigned rounds = 0;

    (void)state;
    for (size_t i = 0; i < run.image.n; i++) {
        struct file *file = &run.image.files[i];

        for (size_t at = 0; is_ours(file->path) && at < file->len; at += STEP) {
            restore(&run.image, run.dir);
            file->bytes[at] = (char)(file->bytes[at] ^ (1 << at % 8));
            store_file(file->path, file->bytes, file->len);
            file->bytes[at] = (char)(file->bytes[at] ^ (1 << at % 8));
            unsigned whole = check_run(&run, true);

            assert_true(whole == LOGS - 1 || strstr(file->path, ".seg"));
            rounds++;
        }
    }
    assert_true(rounds > 1000 / STEP);
    free_run(&run);
}

static void test_a_missing_file_costs_what_it_held(void **state)
{
    struct run run = make_run();

    (void)state;
    for (size_t i = 0; i < run.image.n; i++) {
        const struct file *file = &run.image.files[i];

        if (!is_ours(file->path))
            continue;
        restore(&run.image, run.dir);
        unlink(file->path);
        unsigned whole = check_run(&run, true);

        assert_true(whole < LOGS);
        if (strstr(file->path, ".snap"))
            assert_int_equal(whole, LOGS - 1);
    }
    free_run(&run);
}

/* What was written but not synced when the machine went down. */
static void test_an_unsynced_tail_cut_anywhere_is_a_prefix_and_the_replay_completes_it(void **state)
{
    struct run run = {0};
    struct log *log;

    (void)state;
    make_fast_folder(run.dir);
    struct shapelog *store = open_store(run.dir, 0);
    struct lane *lane = shapelog_lane_new(store);

    log = new_live_log(store, 0, 90);
    copy_handle(log, run.handles[0]);
    put(store, lane, 100, log, "synced");
    wait_durable(store, 105);
    run.image = load_image(run.dir);
    for (lsn_t lsn = 110; lsn < 150; lsn += 10)
        put(store, lane, lsn, log, "tail");
    char *truth = read_log(store, log);

    log_unref(log);
    shapelog_lane_free(store, lane);
    shapelog_close(store);
    struct image later = load_image(run.dir);
    const struct file *tail = NULL, *synced = NULL;

    for (size_t i = 0; i < later.n; i++) {
        if (strstr(later.files[i].path, ".seg"))
            tail = &later.files[i];
    }
    for (size_t i = 0; i < run.image.n; i++) {
        if (strstr(run.image.files[i].path, ".seg"))
            synced = &run.image.files[i];
    }
    assert_true(tail && synced && tail->len > synced->len);
    for (size_t len = synced->len; len <= tail->len; len++) {
        restore(&run.image, run.dir);
        store_file(tail->path, tail->bytes, len);
        store = open_store(run.dir, 0);
        lane = shapelog_lane_new(store);
        log = bind_again(store, run.handles[0], 0);
        assert_non_null(log); /* torn, not damaged */
        char *text = read_log(store, log);

        assert_true(is_prefix(text, truth));
        free(text);
        for (lsn_t lsn = 110; lsn < 150; lsn += 10)
            put(store, lane, lsn, log, "tail");
        assert_log(store, log, truth);
        log_unref(log);
        shapelog_lane_free(store, lane);
        shapelog_close(store);
    }
    free(truth);
    free_image(&later);
    free_run(&run);
}

static void test_a_damaged_catalogue_is_put_aside(void **state)
{
    struct run run = make_run();
    char path[128];

    (void)state;
    restore(&run.image, run.dir);
    snprintf(path, sizeof(path), "%s/tombolo.db", run.dir);
    store_file(path,
               "this is no database, but it is long enough to look like one to a reader\n"
               "of headers, which wants a hundred bytes of it at the least, or so it says",
               140);
    assert_int_equal(check_run(&run, true), 0);
    strcat(path, ".damaged");
    assert_int_equal(access(path, F_OK), 0);
    free_run(&run);
}

static void test_an_open_transaction_is_void_after_a_crash(void **state)
{
    char dir[64], handle[64];
    int status;

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 4096);
    struct log *log = new_live_log(store, 0, 90);

    copy_handle(log, handle);
    log_unref(log);
    shapelog_close(store);
    pid_t pid = fork();
    if (pid == 0) {
        char text[2000];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        store = open_store(dir, 4096);
        log = bind_again(store, handle, 0);
        struct lane *lane = shapelog_lane_new(store);
        put(store, lane, 100, log, "a");
        begin(store, 110);
        for (unsigned op = 0; op < 2000; op++) /* over several segments, written in part */
            append(store, lane, text, op, log);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    store = open_store(dir, 4096);
    log = bind_again(store, handle, 0);
    char *text = read_log(store, log);
    assert_true(is_prefix(text, "[100]a"));
    free(text);
    struct lane *lane = shapelog_lane_new(store);
    put(store, lane, 100, log, "a");
    put(store, lane, 110, log, "b");
    assert_log(store, log, "[100]a[110]b");
    log_unref(log);
    shapelog_lane_free(store, lane);
    shapelog_close(store);
    remove_folder(dir);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

/* Message of a transaction for a log: known from its LSN alone. */
static void killed_message(char text[64], lsn_t lsn, unsigned op)
{
    snprintf(text, 64, "%llu/%u/%llu", (unsigned long long)lsn, op,
             (unsigned long long)(lsn * 2654435761u % 1000003));
}

/* Goes on from the durable position as the bridge would, for ever; says what is durable. */
static void write_until_killed(const char *dir, char handles[2][64], int report)
{
    struct shapelog *store = open_store(dir, 16384);
    struct lane *lane = shapelog_lane_new(store);
    struct log *logs[2];
    char text[64];

    for (unsigned i = 0; i < 2; i++) {
        logs[i] = bind_again(store, handles[i], i);
        if (!logs[i])
            _exit(3);
    }
    for (lsn_t lsn = shapelog_durable(store) / 10 * 10 + 10;; lsn += 10) {
        if (begin(store, lsn)) {
            for (unsigned op = 0; op < 1 + lsn / 10 % 7; op++) {
                killed_message(text, lsn, op);
                append(store, lane, text, op, logs[op % 2]);
            }
        }
        commit(store, lsn);
        if (lsn % 30 == 0) {
            publish(store, lsn);
            lsn_t durable = shapelog_durable(store);
            if (write(report, &durable, sizeof(durable)) != sizeof(durable))
                _exit(4);
        }
    }
}

static lsn_t run_and_kill(const char *dir, char handles[2][64], unsigned us)
{
    int ends[2], status;
    lsn_t durable = 0, said;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        write_until_killed(dir, handles, ends[1]);
    }
    close(ends[1]);
    /* Reading keeps the pipe from filling up; the time is what makes each round another moment. */
    int64_t until = clock_us() + us;
    while (clock_us() < until && read(ends[0], &said, sizeof(said)) == sizeof(said))
        durable = said;
    kill(pid, SIGKILL);
    while (read(ends[0], &said, sizeof(said)) == sizeof(said))
        durable = said;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return durable;
}

/* What log `which` must hold up to `last`. */
static char *killed_truth(unsigned which, lsn_t last)
{
    struct buf out;
    char text[64];

    buf_init(&out, BUF_NO_LIMIT);
    for (lsn_t lsn = 10; lsn <= last; lsn += 10) {
        for (unsigned op = which; op < 1 + lsn / 10 % 7; op += 2) {
            killed_message(text, lsn, op);
            if (op == which)
                buf_printf(&out, "[%llu]", (unsigned long long)lsn);
            else
                buf_put_u8(&out, ',');
            buf_put_cstr(&out, text);
        }
    }
    buf_cstr(&out);
    return out.ptr;
}

static void test_a_writer_killed_at_any_moment_leaves_whole_transactions(void **state)
{
    char dir[64], handles[2][64];
    unsigned seed = 1;
    lsn_t reached = 0;

    (void)state;
    make_folder(dir);
    struct shapelog *store = open_store(dir, 16384);
    for (unsigned i = 0; i < 2; i++) {
        struct log *log = new_live_log(store, i, 0);

        copy_handle(log, handles[i]);
        log_unref(log);
    }
    shapelog_close(store);
    /* More and longer rounds where the disk is so slow that nothing becomes durable in one. */
    for (unsigned round = 0; round < 40 || (reached <= 1000 && round < 400); round++) {
        seed = seed * 1103515245 + 12345;
        lsn_t durable = run_and_kill(dir, handles, seed / 65536 % 40000 * (1 + round / 40));

        store = open_store(dir, 16384);
        lsn_t last = shapelog_last_commit(store);

        assert_true(last + 5 >= durable);
        reached = last;
        for (unsigned i = 0; i < 2; i++) {
            struct log *log = bind_again(store, handles[i], i);
            char *truth = killed_truth(i, last);

            assert_non_null(log);
            assert_log(store, log, truth);
            free(truth);
            log_unref(log);
        }
        shapelog_close(store);
    }
    assert_true(reached > 1000);
    remove_folder(dir);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static struct buf make_block(void)
{
    const struct block_ref refs[] = {
        {7, 0, 3, 0, 4}, {UINT64_MAX, 4, 3, 6, 6}, {1, 0, 7, 0, 6}, {2, 4, 3, 6, UINT32_MAX}};
    struct block_head head = {.flags = BLOCK_COMMIT,
                              .data_len = 7,
                              .data_sum = hash_bytes(SLICE("abc,def")),
                              .commit_lsn = UINT64_MAX - 1,
                              .xid = 77,
                              .txn = 3,
                              .end_lsn = 99,
                              .time_us = -5};
    struct block_ref before = {0};
    struct buf out;

    buf_init(&out, BUF_NO_LIMIT);
    buf_room(&out, BLOCK_HEAD_SIZE);
    buf_added(&out, BLOCK_HEAD_SIZE);
    for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        block_put_ref(&out, &refs[i], &before);
        before = refs[i];
    }
    head.refs_len = (uint32_t)(out.len - BLOCK_HEAD_SIZE);
    buf_put_slice(&out, SLICE("abc,def"));
    block_write_head(out.ptr, &head);
    return out;
}

static void test_a_block_is_read_as_it_was_written(void **state)
{
    struct buf bytes = make_block();
    struct block_ref ref = {0};
    struct block block;

    (void)state;
    assert_int_equal(block_read(buf_slice(&bytes), &block), BLOCK_GOOD);
    assert_int_equal(block.head.flags, BLOCK_COMMIT);
    assert_true(block.head.commit_lsn == UINT64_MAX - 1);
    assert_int_equal(block.head.end_lsn, 99);
    assert_int_equal(block.head.time_us, -5);
    assert_true(slice_is(block.data, "abc,def"));
    struct reader r = reader_of(block.refs);
    assert_true(block_read_ref(&r, 7, &ref));
    assert_int_equal(ref.log, 7);
    assert_int_equal(ref.last_op, 4);
    assert_true(block_read_ref(&r, 7, &ref));
    assert_true(ref.log == UINT64_MAX);
    assert_int_equal(ref.start, 4);
    assert_true(block_read_ref(&r, 7, &ref));
    assert_int_equal(ref.start, 0);
    assert_true(block_read_ref(&r, 7, &ref));
    assert_true(ref.last_op == UINT32_MAX);
    assert_false(block_read_ref(&r, 7, &ref));
    assert_true(reader_done(&r));
    buf_release(&bytes);
}

static void test_a_block_with_a_flipped_bit_is_never_good(void **state)
{
    struct buf bytes = make_block();
    struct block block;

    (void)state;
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.ptr[bit / 8] = (char)(bytes.ptr[bit / 8] ^ (1 << bit % 8));
        enum block_state found = block_read(buf_slice(&bytes), &block);
        assert_int_equal(found, bit / 8 < bytes.len - 7 ? BLOCK_BAD : BLOCK_DATA_BAD);
        bytes.ptr[bit / 8] = (char)(bytes.ptr[bit / 8] ^ (1 << bit % 8));
    }
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_not_equal(block_read((struct slice){bytes.ptr, len}, &block), BLOCK_GOOD);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_block_is_read_as_it_was_written),
        cmocka_unit_test(test_a_block_with_a_flipped_bit_is_never_good),
        cmocka_unit_test(test_an_undamaged_run_is_all_there),
        cmocka_unit_test(test_a_file_cut_anywhere_loses_logs_never_rows),
        cmocka_unit_test(test_a_byte_flipped_anywhere_loses_logs_never_rows),
        cmocka_unit_test(test_a_missing_file_costs_what_it_held),
        cmocka_unit_test(
            test_an_unsynced_tail_cut_anywhere_is_a_prefix_and_the_replay_completes_it),
        cmocka_unit_test(test_a_damaged_catalogue_is_put_aside),
        cmocka_unit_test(test_an_open_transaction_is_void_after_a_crash),
        cmocka_unit_test(test_a_writer_killed_at_any_moment_leaves_whole_transactions),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
