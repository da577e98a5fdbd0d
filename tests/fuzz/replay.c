/*
 * Runs a fuzz target over the files named on the command line, or in the
 * folders named there: how the seed corpus is a test without libFuzzer.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;

    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        return 1;
    }
    uint8_t *data = malloc((size_t)st.st_size + 1);
    size_t n = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

static int replay(const char *path)
{
    DIR *dir = opendir(path);
    int failed = 0, n = 0;

    if (!dir)
        return replay_file(path);
    for (struct dirent *e; (e = readdir(dir));) {
        char file[4096];

        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        failed |= replay_file(file);
        n++;
    }
    closedir(dir);
    if (n == 0)
        fprintf(stderr, "%s: no seed there\n", path);
    return failed || n == 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    return failed;
}
