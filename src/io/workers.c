/* Makes calls that may block in a few threads, and tells their owners on the loop. */
#include "io/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#ifndef VMCTL_STATIC_RESOLVER
#include <dlfcn.h>
#endif

enum {
    WORKERS_STACK = 256 * 1024, /* name service plug-ins hold whole DNS messages of 64 KiB on the stack */
    WORKERS_IDLE = 2,           /* seconds after which an idle worker ends */
    WORKERS_LAST = 1            /* seconds that a closing loop waits for the jobs that it has */
};

static const double WORKERS_RETRY = 0.05; /* seconds */

/* Shared by the loop and its threads, and freed by the last of them: a thread whose call hangs outlives the loop. */
struct vmctl_workers {
    struct vmctl_handle handle;
    struct vmctl_loop *loop;
    struct vmctl_timer retry;    /* runs while the kernel does not watch `rio`: it is asked again */
    ev_io rio;                   /* an eventfd: there are jobs in `finished` */
    size_t in_flight;            /* jobs that an owner waits for; the loop's alone */
    pid_t pid;                   /* of the process that made it: after a fork there are no threads */
    pthread_mutex_t lock;        /* guards all below, and the state of every job */
    pthread_cond_t wanted, idle; /* a job came; a job was done */
    struct vmctl_list queue, finished;
    size_t queued, threads, free; /* free: threads that wait for a job */
    size_t refs;
    int fd;                      /* of the eventfd; -1 once the loop has gone */
    bool closed, awaited;        /* awaited: the closing loop joins those that end now */
    pthread_t ended[VMCTL_WORKERS];
    size_t ended_count;
};

static void workers_unref(struct vmctl_workers *w) /* with the lock, which it gives up */
{
    bool last = --w->refs == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wanted);
    pthread_cond_destroy(&w->idle);
    free(w);
}

static struct timespec workers_after(int seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += seconds;
    return t;
}

/* The next job, or NULL: none came for a while, or the loop has gone. */
static struct vmctl_job *workers_take(struct vmctl_workers *w)
{
    struct timespec until = workers_after(WORKERS_IDLE);
    int err = 0;
    w->free++;
    while (vmctl_list_empty(&w->queue) && !w->closed && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&w->wanted, &w->lock, &until);
    w->free--;
    if (vmctl_list_empty(&w->queue))
        return NULL;
    struct vmctl_job *job = VMCTL_CONTAINER(w->queue.next, struct vmctl_job, link);
    vmctl_list_remove(&job->link);
    w->queued--;
    job->state = VMCTL_JOB_RUNNING;
    return job;
}

/* With the lock. The write is under it, too: a loop that ends meanwhile closes the fd, and its number may be reused. */
static void workers_finish(struct vmctl_workers *w, struct vmctl_job *job)
{
    job->state = VMCTL_JOB_DONE;
    if (job->left) {
        pthread_mutex_unlock(&w->lock);
        job->free(job);
        pthread_mutex_lock(&w->lock);
        w->refs--; /* the job's; the thread has one as well */
    } else {
        bool first = vmctl_list_empty(&w->finished);
        vmctl_list_append(&w->finished, &job->link);
        if (first && w->fd >= 0)
            (void)eventfd_write(w->fd, 1); /* a counter far below its end cannot refuse */
    }
    pthread_cond_signal(&w->idle);
}

/* With the lock: ends a thread, which the closing loop joins, or nobody. */
static void workers_part(struct vmctl_workers *w)
{
    w->threads--;
    if (w->awaited)
        w->ended[w->ended_count++] = pthread_self();
    else
        pthread_detach(pthread_self());
    pthread_cond_signal(&w->idle);
    workers_unref(w);
}

static void *workers_thread(void *arg)
{
    struct vmctl_workers *w = arg;
    struct vmctl_job *job;
    pthread_mutex_lock(&w->lock);
    while ((job = workers_take(w))) {
        pthread_mutex_unlock(&w->lock);
        job->run(job);
        pthread_mutex_lock(&w->lock);
        workers_finish(w, job);
    }
    workers_part(w);
    return NULL;
}

#ifdef VMCTL_STATIC_RESOLVER
static void workers_stay_loaded(void) {}
#else
/* Lua unloads its C modules when a state closes, and a thread whose owner is gone may still be at work in this code.
 * Its library must then stay. Fails harmlessly where there is nothing to unload. */
static void workers_stay_loaded(void)
{
    Dl_info self;
    if (!dladdr((void *)workers_thread, &self) || !self.dli_fname)
        return;
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    if (library)
        dlclose(library); /* NODELETE is in force, the extra reference is not needed */
}
#endif

/* With the lock. */
static int workers_start_thread(struct vmctl_workers *w)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int err = pthread_attr_init(&attr);
    if (err)
        return -err;
    pthread_attr_setstacksize(&attr, WORKERS_STACK);
    sigfillset(&all); /* inherited: the host's handlers run in the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&thread, &attr, workers_thread, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err)
        return -err;
    w->threads++;
    w->refs++;
    return 0;
}

static void workers_count(struct vmctl_workers *w, int change)
{
    if (!w->loop)
        return;
    w->in_flight += (size_t)change;
    w->loop->at_work = w->in_flight > 0;
    w->loop->changed = true; /* libev counts its watchers anew */
    if (change > 0)
        ev_ref(w->loop->ev);
    else
        ev_unref(w->loop->ev);
}

static void on_retry(struct vmctl_timer *t)
{
    struct vmctl_workers *w = VMCTL_CONTAINER(t, struct vmctl_workers, retry);
    vmctl_io_start(w->loop, &w->rio);
}

static void on_finished(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    struct vmctl_workers *w = VMCTL_CONTAINER(io, struct vmctl_workers, rio);
    int failed = vmctl_io_failed(w->loop, io, events);
    if (failed && failed != -EAGAIN && vmctl_timer_set(w->loop, &w->retry, vmctl_loop_now(w->loop) + WORKERS_RETRY) != 0)
        vmctl_io_start(w->loop, io);
    eventfd_t n;
    pthread_mutex_lock(&w->lock);
    (void)eventfd_read(w->fd, &n); /* written under the lock */
    while (!vmctl_list_empty(&w->finished)) {
        struct vmctl_job *job = VMCTL_CONTAINER(w->finished.next, struct vmctl_job, link);
        vmctl_list_remove(&job->link);
        pthread_mutex_unlock(&w->lock);
        workers_count(w, -1);
        job->done(job);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

/* With the lock: waits until the jobs are done, unless they hang, and the threads have ended. */
static void workers_await(struct vmctl_workers *w)
{
    struct timespec until = workers_after(WORKERS_LAST);
    int err = 0;
    w->awaited = true;
    while (w->threads > 0 && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&w->idle, &w->lock, &until);
    w->awaited = false;
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->ended_count; i++) /* nobody adds to them any more */
        pthread_join(w->ended[i], NULL);
    pthread_mutex_lock(&w->lock);
}

/* With the lock: drops jobs that no worker has taken. */
static void workers_give_up(struct vmctl_workers *w)
{
    while (!vmctl_list_empty(&w->queue)) {
        struct vmctl_job *job = VMCTL_CONTAINER(w->queue.next, struct vmctl_job, link);
        vmctl_list_remove(&job->link);
        job->state = VMCTL_JOB_DONE;
        if (job->left) {
            job->free(job);
            w->refs--;
        }
    }
    w->queued = 0;
}

static void on_close(struct vmctl_handle *h)
{
    struct vmctl_workers *w = VMCTL_CONTAINER(h, struct vmctl_workers, handle);
    w->loop->workers = NULL;
    ev_ref(w->loop->ev);
    vmctl_io_stop(w->loop, &w->rio);
    vmctl_io_forget(w->loop, w->fd);
    vmctl_timer_stop(w->loop, &w->retry);
    w->loop = NULL;
    if (getpid() != w->pid) { /* in a fork's child the lock may be held by a thread that does not exist there */
        close(w->fd);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->closed = true;
    pthread_cond_broadcast(&w->wanted);
    workers_await(w);
    close(w->fd);
    w->fd = -1;
    workers_give_up(w);
    workers_unref(w);
}

static int workers_make_locks(struct vmctl_workers *w)
{
    pthread_condattr_t attr;
    int err = pthread_condattr_init(&attr);
    if (err)
        return -err;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL); /* those of glibc and musl cannot fail with these attributes */
    pthread_cond_init(&w->wanted, &attr);
    pthread_cond_init(&w->idle, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

static int workers_new(struct vmctl_loop *loop)
{
    struct vmctl_workers *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int err = w->fd < 0 ? -errno : workers_make_locks(w);
    if (err) {
        if (w->fd >= 0)
            close(w->fd);
        free(w);
        return err;
    }
    workers_stay_loaded();
    w->loop = loop;
    w->pid = getpid();
    w->refs = 1;
    w->handle.close = on_close;
    w->retry.expired = on_retry;
    vmctl_list_init(&w->queue);
    vmctl_list_init(&w->finished);
    vmctl_handle_add(loop, &w->handle);
    ev_io_init(&w->rio, on_finished, w->fd, EV_READ);
    vmctl_io_start(loop, &w->rio);
    ev_unref(loop->ev); /* only a job keeps the loop waiting */
    loop->workers = w;
    return 0;
}

int vmctl_workers_submit(struct vmctl_loop *loop, struct vmctl_job *job)
{
    int err = loop->workers ? 0 : workers_new(loop);
    if (err)
        return err;
    struct vmctl_workers *w = loop->workers;
    if (getpid() != w->pid)
        return -ENOTSUP;
    pthread_mutex_lock(&w->lock);
    if (w->queued >= VMCTL_WORKERS_QUEUE)
        err = -EBUSY;
    else if (w->free <= w->queued && w->threads < VMCTL_WORKERS)
        err = workers_start_thread(w);
    if (err && err != -EBUSY && w->threads > 0)
        err = 0; /* one of the existing threads will do it */
    if (!err) {
        job->state = VMCTL_JOB_QUEUED;
        job->left = false;
        job->workers = w;
        w->refs++;
        vmctl_list_append(&w->queue, &job->link);
        w->queued++;
        pthread_cond_signal(&w->wanted);
    }
    pthread_mutex_unlock(&w->lock);
    if (!err)
        workers_count(w, 1);
    return err;
}

void vmctl_workers_leave(struct vmctl_job *job)
{
    struct vmctl_workers *w = job->workers;
    if (getpid() != w->pid)
        return; /* a fork's child */
    pthread_mutex_lock(&w->lock);
    bool over = job->state == VMCTL_JOB_DONE, told = over && vmctl_list_empty(&job->link);
    if (over)
        vmctl_list_remove(&job->link);
    job->left = true;
    pthread_mutex_unlock(&w->lock);
    if (!told)
        workers_count(w, -1);
    if (!over)
        return;
    job->free(job);
    pthread_mutex_lock(&w->lock);
    workers_unref(w);
}

void vmctl_workers_take_back(struct vmctl_job *job)
{
    pthread_mutex_lock(&job->workers->lock);
    workers_unref(job->workers);
}

bool vmctl_workers_began(struct vmctl_job *job)
{
    struct vmctl_workers *w = job->workers;
    pthread_mutex_lock(&w->lock);
    bool began = job->state != VMCTL_JOB_QUEUED;
    pthread_mutex_unlock(&w->lock);
    return began;
}
