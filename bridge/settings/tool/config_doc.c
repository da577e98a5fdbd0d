/*
 * Writes docs/CONFIG.md to standard output.
 */
#include "settings/config.h"

int main(void)
{
    config_print_doc(stdout);
    return fflush(stdout) != 0;
}
