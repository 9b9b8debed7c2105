/* cat: a command's output through `cat` into a pipe, from the start of the command to the end of its pipeline. */

#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static size_t drain(int fd)
{
    static uint8_t buffer[256 * 1024];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            bench_die("read");
        if (n == 0)
            return total;
        total += (size_t)n;
    }
}

int main(int argc, char **argv)
{
    char command[100];
    if (argc != 2)
        bench_die_text("usage: cat_reader BYTES");
    long bytes = bench_count(argv[1]);
    snprintf(command, sizeof command, "head -c %ld /dev/zero | cat", bytes);
    double start = bench_now();
    FILE *pipeline = popen(command, "re");
    if (!pipeline)
        bench_die("popen");
    size_t total = drain(fileno(pipeline));
    if (pclose(pipeline) != 0 || total != (size_t)bytes)
        bench_die_text("the pipeline failed");
    bench_result("mib_rate", (double)bytes / (1024 * 1024) / (bench_now() - start));
    return 0;
}
