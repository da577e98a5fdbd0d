/*
 * `tombolo serve`: the bridge, put together from its rooms.
 */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

/* Runs until SIGINT or SIGTERM. Returns the process's exit code: 0 after a clean stop, 1 when it
 * could not start, 2 for wrong settings. */
int serve_main(int argc, char **argv);

#endif
