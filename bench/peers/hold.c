/* Opens COUNT connections to a server and keeps them, silent, until the server closes the last one. */

#include "bench.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    char byte;
    int fd = -1;
    if (argc != 3)
        bench_die_text("usage: hold SOCKET COUNT");
    for (long left = bench_count(argv[2]); left > 0; left--)
        fd = bench_dial(argv[1]);
    if (read(fd, &byte, 1) != 0)
        bench_die_text("end of stream expected");
    return 0;
}
