#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void bench_die_text(const char *text)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
    exit(1);
}

void bench_die(const char *operation)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, operation, strerror(errno));
    exit(1);
}

size_t bench_frame_put(uint8_t *out, uint8_t type, const void *payload, size_t length)
{
    out[0] = type;
    out[1] = (uint8_t)(length >> 24);
    out[2] = (uint8_t)(length >> 16);
    out[3] = (uint8_t)(length >> 8);
    out[4] = (uint8_t)length;
    memcpy(out + BENCH_HEAD, payload, length);
    return BENCH_HEAD + length;
}

size_t bench_frame_peek(const uint8_t *in, size_t have, struct bench_frame *frame)
{
    if (have < BENCH_HEAD)
        return 0;
    size_t length = (size_t)in[1] << 24 | (size_t)in[2] << 16 | (size_t)in[3] << 8 | in[4];
    if (length > BENCH_MAX)
        bench_die_text("frame over the limit");
    if (have - BENCH_HEAD < length)
        return 0;
    *frame = (struct bench_frame){ .type = in[0], .length = length, .payload = in + BENCH_HEAD };
    return BENCH_HEAD + length;
}

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof addr.sun_path)
        bench_die_text("socket path too long");
    strcpy(addr.sun_path, path);
    return addr;
}

static int unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        bench_die("socket");
    return fd;
}

int bench_listen(const char *path)
{
    struct sockaddr_un addr = unix_address(path);
    int fd = unix_socket();
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        bench_die("bind");
    if (listen(fd, SOMAXCONN) < 0)
        bench_die("listen");
    return fd;
}

int bench_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        bench_die("accept");
    return fd;
}

int bench_dial(const char *path)
{
    struct sockaddr_un addr = unix_address(path);
    const struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
    int fd = unix_socket();
    double deadline = bench_now() + 2;
    while (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        if ((errno != ENOENT && errno != ECONNREFUSED) || bench_now() > deadline)
            bench_die("connect");
        nanosleep(&pause, NULL);
    }
    return fd;
}

void bench_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        bench_die("fcntl");
}

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

long bench_count(const char *text)
{
    char *end;
    long count = strtol(text, &end, 10);
    if (*end || count <= 0)
        bench_die_text("a positive number expected");
    return count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_report_latencies(double *seconds, size_t n)
{
    qsort(seconds, n, sizeof *seconds, by_value);
    double p50 = seconds[n / 2], p99 = seconds[n - 1 - n / 100];
    bench_result("p50_us", p50 * 1e6);
    bench_result("p99_us", p99 * 1e6);
    bench_result("p99_ratio", p99 / p50);
}

void bench_ready(void)
{
    puts("ready");
    fflush(stdout);
}

void bench_result(const char *name, double value)
{
    printf("RESULT %s=%.9g\n", name, value);
    fflush(stdout);
}
