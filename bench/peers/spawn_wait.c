/* spawn: how long `true` takes from posix_spawn to its exit code, one after the other. */

#include "bench.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static double run_true(void)
{
    char name[] = "true", *argv[] = { name, NULL };
    pid_t pid;
    int status;
    double start = bench_now();
    errno = posix_spawnp(&pid, name, NULL, NULL, argv, environ);
    if (errno)
        bench_die("posix_spawn");
    if (waitpid(pid, &status, 0) < 0)
        bench_die("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die_text("true failed");
    return bench_now() - start;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        bench_die_text("usage: spawn_wait WARMUP COUNT");
    size_t warmup = (size_t)bench_count(argv[1]), count = (size_t)bench_count(argv[2]);
    double *seconds = calloc(count, sizeof *seconds);
    if (!seconds)
        bench_die("calloc");
    for (size_t i = 0; i < warmup; i++)
        run_true();
    for (size_t i = 0; i < count; i++)
        seconds[i] = run_true();
    bench_report_latencies(seconds, count);
    free(seconds);
    return 0;
}
