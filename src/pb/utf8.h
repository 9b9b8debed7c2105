/* Checks of UTF-8. */
#ifndef VMCTL_PB_UTF8_H
#define VMCTL_PB_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Is a text UTF-8 for interchange: shortest forms only, no surrogates, nothing above U+10FFFF. */
bool vmctl_utf8_valid(const char *text, size_t len);

#endif
