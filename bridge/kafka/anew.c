#include "kafka/anew.h"
#include "base/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_NAME "kafka_begins_anew"

static int open_folder(const char *data_dir)
{
    return open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool anew_note(const char *data_dir, struct err *err)
{
    int dir = open_folder(data_dir);
    int fd = dir < 0 ? -1 : openat(dir, FILE_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fsync(dir) == 0;

    if (!ok)
        err_errno(err, ERR_IO, "could not write \"%s/%s\"", data_dir, FILE_NAME);
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    return ok;
}

bool anew_is_noted(const char *data_dir)
{
    int dir = open_folder(data_dir);
    bool there = dir >= 0 && faccessat(dir, FILE_NAME, F_OK, 0) == 0;

    if (dir >= 0)
        close(dir);
    return there;
}

void anew_forget(const char *data_dir)
{
    int dir = open_folder(data_dir);
    struct err err;

    if ((dir < 0 || unlinkat(dir, FILE_NAME, 0) != 0) && errno != ENOENT) {
        err_errno(&err, ERR_IO, "could not remove \"%s/%s\"", data_dir, FILE_NAME);
        log_warn("the topics will begin anew once more", LOG_ERR(&err));
    }
    if (dir >= 0)
        close(dir);
}
