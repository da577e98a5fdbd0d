/*
 * Programs whose instructions are counted (tests/integration/test_hot_paths.py): each does one hot
 * path over fixed input, so that a run costs what every run costs.
 *
 *     int main(int argc, char **argv)
 *     {
 *         ... what is measured is made ready, and run once, so that nothing happens for the first
 *         time ...
 *         hot_say("index", 1000);            // the path, and how many units one run has
 *         hot_measure(find_all, &index);     // callgrind counts in here alone
 *     }
 */
#ifndef TESTS_HOT_HOT_H
#define TESTS_HOT_HOT_H

#include <stdint.h>

/* Prints
 *
 *     path index units 1000 built gcc-12/glibc-2.36/x86_64/sqlite-3.40.1
 *
 * where the last word names everything that the count depends on besides our own code; a build that
 * is not an optimised one, or has sanitizers, says so there. */
void hot_say(const char *path, uint64_t units);

/* Calls it. By this function's name callgrind knows when to count. */
void hot_measure(void (*run)(void *), void *arg);

#endif
