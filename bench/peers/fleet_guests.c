/* Plays the control planes of guests in one process, as cheaply as it can: what is measured is who polls them.
 * Each line is answered at once: get_health by a healthy guest with one agent, ping by a pong, anything else by an ack. */

#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, LINE = 4096 };

static const char health[] = "{\"type\":\"health\",\"payload\":{\"state\":\"healthy\",\"agents\":"
                             "[{\"name\":\"agent\",\"running\":true,\"restarts\":0}],\"uptime_seconds\":60}}\n";
static const char pong[] = "{\"type\":\"pong\"}\n";
static const char ack[] = "{\"type\":\"ack\",\"payload\":{\"reply_to\":\"set_config\",\"ok\":true}}\n";

static void watch(int poll, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };
    bench_set_nonblocking(fd);
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event))
        bench_die("epoll_ctl");
}

static void say(int fd, const char *line)
{
    size_t len = strlen(line);
    if (write(fd, line, len) != (ssize_t)len)
        bench_die("write"); /* there is one request at a time: its answer fits */
}

static void accept_all(int poll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            bench_die("accept");
        watch(poll, fd);
    }
}

/* A request is a line, and comes whole: it is one write of the other end. */
static void answer(int fd)
{
    char in[LINE];
    ssize_t n = read(fd, in, sizeof in);
    if (n <= 0) {
        close(fd);
        return;
    }
    if (in[n - 1] != '\n')
        bench_die_text("fleet_guests: a line expected");
    if (memmem(in, (size_t)n, "\"get_health\"", 12))
        say(fd, health);
    else
        say(fd, memmem(in, (size_t)n, "\"ping\"", 6) ? pong : ack);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc != 2)
        bench_die_text("usage: fleet_guests SOCKET");
    int listener = bench_listen(argv[1]), poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0)
        bench_die("epoll_create1");
    watch(poll, listener);
    bench_ready();
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            bench_die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(poll, listener);
            else
                answer(events[i].data.fd);
        }
    }
}
