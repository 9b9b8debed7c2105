/* xattr PATH: its extended attributes' names, a line each. xattr PATH NAME: a value. xattr PATH NAME VALUE: sets it, "cap" is a file
 * capability. What fails prints the error's number. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static int fail(void)
{
    printf("%d\n", errno);
    return 1;
}

int main(int argc, char **argv)
{
    static const unsigned capability[5] = { 0x02000001, 0x400 };
    static char bytes[65536];
    if (argc == 4) {
        int is_cap = strcmp(argv[3], "cap") == 0;
        const void *value = is_cap ? (const void *)capability : argv[3];
        return setxattr(argv[1], argv[2], value, is_cap ? sizeof capability : strlen(argv[3]), 0) < 0 ? fail() : 0;
    }
    ssize_t n = argc == 3 ? getxattr(argv[1], argv[2], bytes, sizeof bytes) : listxattr(argv[1], bytes, sizeof bytes);
    if (n < 0)
        return fail();
    for (ssize_t i = 0; argc == 2 && i < n; i += (ssize_t)strlen(bytes + i) + 1)
        puts(bytes + i);
    if (argc == 3)
        printf("%.*s\n", (int)n, bytes);
    return 0;
}
