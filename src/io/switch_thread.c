/* The thread of a switch, and the lock by which its owner and the thread take turns. */
#include "io/switch_thread.h"

#include "io/sysio.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void thread_take(struct vmctl_switch_thread *t)
{
    pthread_mutex_lock(&t->gate);
    pthread_mutex_lock(&t->lock);
    pthread_mutex_unlock(&t->gate);
}

static void on_wait_begins(struct vmctl_loop *loop)
{
    struct vmctl_switch_thread *t = VMCTL_CONTAINER(loop, struct vmctl_switch_thread, loop);
    pthread_mutex_unlock(&t->lock);
}

static void on_wait_ends(struct vmctl_loop *loop)
{
    thread_take(VMCTL_CONTAINER(loop, struct vmctl_switch_thread, loop));
}

static void *thread_run(void *arg)
{
    struct vmctl_switch_thread *t = arg;
    thread_take(t);
    while (!t->stop)
        vmctl_loop_poll(&t->loop, INFINITY);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void eventfd_clear(int fd)
{
    eventfd_t count;
    (void)eventfd_read(fd, &count); /* it may be empty: events come together */
}

static void on_wake(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_switch_thread *t = VMCTL_CONTAINER(w, struct vmctl_switch_thread, wake_io);
    if (!vmctl_io_failed(&t->loop, w, events))
        eventfd_clear(t->wake);
}

static void on_news(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    struct vmctl_switch_thread *t = VMCTL_CONTAINER(w, struct vmctl_switch_thread, news_io);
    if (vmctl_io_failed(t->owner, w, events))
        return;
    eventfd_clear(t->news);
    vmctl_switch_enter(t->sw);
    unsigned told = t->told;
    t->told = 0;
    vmctl_switch_hear(t->sw, told);
    vmctl_switch_leave(t->sw);
}

void vmctl_switch_enter(struct vmctl_switch *sw)
{
    struct vmctl_switch_thread *t = sw->thread;
    if (t && !t->depth++ && vmctl_loop_is_ours(&t->loop))
        thread_take(t);
}

void vmctl_switch_leave(struct vmctl_switch *sw)
{
    struct vmctl_switch_thread *t = sw->thread;
    if (!t || --t->depth || !vmctl_loop_is_ours(&t->loop))
        return;
    bool look = vmctl_loop_next(&t->loop) < t->loop.armed;
    pthread_mutex_unlock(&t->lock);
    if (look)
        (void)eventfd_write(t->wake, 1);
}

/* Starts the thread with all signals blocked: it handles none of the process. */
static int thread_start(struct vmctl_switch_thread *t)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&t->thread, NULL, thread_run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static int watch_eventfd(struct vmctl_loop *loop, ev_io *w, int *fd, void (*callback)(struct ev_loop *, ev_io *, int))
{
    *fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (*fd < 0)
        return -errno;
    ev_io_init(w, callback, *fd, EV_READ);
    vmctl_io_start(loop, w);
    return 0;
}

static void unwatch_eventfd(struct vmctl_loop *loop, ev_io *w, int *fd)
{
    if (*fd < 0)
        return;
    vmctl_io_stop(loop, w);
    vmctl_io_close(loop, *fd);
    *fd = -1;
}

static void thread_free(struct vmctl_switch_thread *t)
{
    unwatch_eventfd(t->owner, &t->news_io, &t->news);
    unwatch_eventfd(&t->loop, &t->wake_io, &t->wake);
    vmctl_switch_close(t->sw);
    vmctl_loop_close(&t->loop);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->gate);
    vmctl_list_remove(&t->handle.link);
}

static void on_close(struct vmctl_handle *h)
{
    vmctl_switch_thread_close(VMCTL_CONTAINER(h, struct vmctl_switch_thread, handle));
}

int vmctl_switch_thread_open(struct vmctl_switch_thread *t, struct vmctl_switch *sw, struct vmctl_loop *owner, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    int err = vmctl_loop_open(&t->loop);
    if (err)
        return err;
    t->sw = sw;
    t->owner = owner;
    t->wake = t->news = -1;
    t->handle.close = on_close;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->gate, NULL);
    vmctl_list_init(&t->handle.link);
    vmctl_switch_init(sw, &t->loop, seed);
    err = watch_eventfd(&t->loop, &t->wake_io, &t->wake, on_wake);
    if (!err)
        err = watch_eventfd(owner, &t->news_io, &t->news, on_news);
    if (!err) {
        vmctl_loop_share(&t->loop, on_wait_begins, on_wait_ends);
        sw->thread = t;
        err = thread_start(t);
    }
    if (err) {
        sw->thread = NULL;
        thread_free(t);
        return err;
    }
    vmctl_handle_add(owner, &t->handle);
    return 0;
}

void vmctl_switch_thread_close(struct vmctl_switch_thread *t)
{
    struct vmctl_switch *sw = t->sw;
    if (!sw || sw->thread != t)
        return;
    if (vmctl_loop_is_ours(&t->loop)) { /* the child of a fork has no such thread */
        vmctl_switch_enter(sw);
        t->stop = true;
        vmctl_switch_leave(sw);
        (void)eventfd_write(t->wake, 1);
        pthread_join(t->thread, NULL);
    }
    vmctl_loop_share(&t->loop, NULL, NULL);
    sw->thread = NULL;
    thread_free(t);
}
