/*
 * `tombolo`: finds the subcommand and runs it.
 */
#include "command.h"

#ifdef TOMBOLO_BRIDGE
#include "serve/serve.h"
#endif

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
#ifdef TOMBOLO_BRIDGE
    {"serve", serve_main, "run the bridge beside a Postgres"},
#endif
    {"sync", sync_main, "keep a SQLite file in step with shapes of a bridge"},
    {"status", status_main, "say what a synced SQLite file holds, or whether a bridge serves"},
    {"rejected", rejected_main, "list local writes that were refused, discard or retry them"},
};

static void usage(FILE *out)
{
    fputs("Usage: tombolo COMMAND [OPTION]...\n\n"
          "A bridge between one Postgres and many SQLite files.\n\n",
          out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n`tombolo COMMAND --help` tells a command's options.\n", out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        puts("tombolo " TOMBOLO_VERSION);
        return 0;
    }
    if (*name)
        fprintf(stderr, "tombolo: there is no command \"%s\"\n\n", name);
    usage(stderr);
    return EXIT_USAGE;
}
