/*
 * The subcommands of `tombolo`, one file each. A command gets its own arguments,
 * argv[0] being its name, and returns the program's exit status:
 *
 *     0  done        1  failed, the reason is on standard error        2  used wrongly
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#define EXIT_FAILED 1
#define EXIT_USAGE 2

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

int sync_main(int argc, char **argv);
int status_main(int argc, char **argv);
int rejected_main(int argc, char **argv);

#endif
