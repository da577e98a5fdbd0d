#include "replica/guard.h"

#include "base/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Pages of 4 KB: 16 MB of WAL, and 1 GB where Litestream should have done it. */
#define CHECKPOINT_FRAMES 4000
#define LITESTREAM_FRAMES 250000
#define GUARD_TIMEOUT_MS 100
#define LOCK_TRIES 5

/* Where WAL's shared memory does not work between hosts. */
static const struct {
    uint32_t magic;
    const char *name;
} network[] = {
    {0x6969, "NFS"},        {0x517B, "SMB"},      {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"},
    {0x00C36400, "CephFS"}, {0x01161970, "GFS2"}, {0x0BD00BD0, "Lustre"}, {0x7461636F, "OCFS2"},
    {0x01021997, "9P"},     {0x5346414F, "AFS"},  {0x73757245, "Coda"},   {0x47504653, "GPFS"},
};

static bool check_file_system(const char *folder, struct err *err)
{
    struct statfs fs;

    if (statfs(folder, &fs) != 0)
        return err_errno(err, ERR_IO, "%s", folder);
    for (size_t i = 0; i < sizeof(network) / sizeof(network[0]); i++) {
        if ((uint32_t)fs.f_type != network[i].magic)
            continue;
        err_set(err, ERR_UNSUPPORTED,
                "%s is on %s: SQLite's WAL does not work on a network "
                "file system",
                folder, network[i].name);
        return err_hint(err, "put the file on a local disk");
    }
    return true;
}

/* The folder is resolved, so that two names of one file meet at one lock. */
static bool resolve(struct lite_db *db, const char *path, struct err *err)
{
    char copy[PATH_MAX], base[PATH_MAX], folder[PATH_MAX], full[PATH_MAX];
    bool ok = true;

    if (!*path || strlen(path) >= sizeof(copy))
        return err_set(err, ERR_INPUT, "the file's name is empty or too long");
    if (realpath(path, full)) {
        strcpy(copy, full);
        ok = check_file_system(dirname(copy), err);
    } else {
        strcpy(copy, path);
        strcpy(base, path);
        if (!realpath(dirname(copy), folder))
            return err_errno(err, ERR_IO, "%s", path);
        if (strlen(folder) + strlen(path) + 2 > sizeof(full))
            return err_set(err, ERR_INPUT, "the file's name is too long");
        strcpy(full, folder);
        strcat(full, "/");
        strcat(full, basename(base));
        ok = check_file_system(folder, err);
    }
    if (ok)
        db->path = xstrdup(full);
    return ok;
}

static bool lock(struct lite_db *db, struct err *err)
{
    char *name = xmalloc(strlen(db->path) + 16);

    sprintf(name, "%s-tombolo", db->path);
    db->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (db->lock_fd < 0)
        err_errno(err, ERR_IO, "could not open \"%s\"", name);
    free(name);
    if (db->lock_fd < 0)
        return false;
    /* Who asks for the status holds a shared lock for a moment: not at the first refusal. */
    for (int tries = 0; flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (tries == LOCK_TRIES || errno != EWOULDBLOCK)
            goto refused;
        poll(NULL, 0, 20);
    }
    return true;

refused:
    if (errno != EWOULDBLOCK)
        return err_errno(err, ERR_IO, "could not lock \"%s-tombolo\"", db->path);
    err_set(err, ERR_BUSY, "\"%s\" is being synced by another process", db->path);
    return err_hint(err, "tombolo status tells which; one syncer a file");
}

bool lite_guard_take(struct lite_db *db, const char *path, struct err *err)
{
    db->checkpoint_at = CHECKPOINT_FRAMES;
    if (strcmp(path, ":memory:") == 0) {
        db->path = xstrdup(path);
        return true;
    }
    if (resolve(db, path, err) && lock(db, err))
        return true;
    lite_guard_drop(db);
    return false;
}

void lite_guard_drop(struct lite_db *db)
{
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    free(db->path);
    db->path = NULL;
    db->lock_fd = -1;
}

static bool open_guard(struct lite_db *db)
{
    if (db->guard)
        return true;
    if (sqlite3_open_v2(db->path, &db->guard, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_exec(db->guard, "PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db->guard, GUARD_TIMEOUT_MS);
        return true;
    }
    sqlite3_close(db->guard);
    db->guard = NULL;
    return false;
}

void lite_guard_checkpoint(struct lite_db *db)
{
    int step = db->litestream ? LITESTREAM_FRAMES : CHECKPOINT_FRAMES;
    int frames = 0, done = 0;

    if (db->wal_frames < step)
        return;
    lite_guard_warn(db);
    db->checkpoint_at = db->wal_frames + step;
    if (!open_guard(db) ||
        sqlite3_exec(db->guard, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return;
    int rc = sqlite3_wal_checkpoint_v2(db->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);
    sqlite3_exec(db->guard, "ROLLBACK", NULL, NULL, NULL);
    if (rc == SQLITE_OK && done == frames)
        db->checkpoint_at = step; /* the next writer begins the WAL anew */
    else
        log_debug("checkpoint kept back by a reader", LOG_INT("frames", frames),
                  LOG_INT("done", done));
}

bool lite_version_at_risk(int version)
{
    if (version < 3007000 || version >= 3051003)
        return false;
    if (version >= 3050007 && version < 3051000)
        return false;
    return !(version >= 3044006 && version < 3045000);
}

/* Every connection holds a lock on the -shm file while it is open. The locks
 * are read from /proc, since opening and closing the file here would drop our own. */
static bool others_have_it_open(const struct lite_db *db)
{
    char name[PATH_MAX + 8], line[256];
    bool found = false;
    struct stat st;

    snprintf(name, sizeof(name), "%s-shm", db->path);
    FILE *f = stat(name, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (f && !found && fgets(line, sizeof(line), f)) {
        uint64_t inode;
        unsigned major, minor;
        long pid;

        if (sscanf(line, "%*d: POSIX %*s %*s %ld %x:%x:%" SCNu64, &pid, &major, &minor, &inode) ==
            4)
            found = inode == st.st_ino && pid != (long)getpid();
    }
    if (f)
        fclose(f);
    return found;
}

void lite_guard_warn(struct lite_db *db)
{
    if (db->warned || !lite_version_at_risk(sqlite3_libversion_number()) ||
        !others_have_it_open(db))
        return;
    db->warned = true;
    log_warn("this version of SQLite can corrupt a WAL that another program checkpoints",
             LOG_STR("sqlite", sqlite3_libversion()), LOG_STR("file", db->path),
             LOG_STR("hint", "use SQLite 3.51.3 or later, or PRAGMA wal_autocheckpoint=0 in "
                             "every other program that writes to the file"));
}
