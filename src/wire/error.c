/* Names and texts of failures. */
#include "wire/error.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define NAME(e) [e] = #e

/* A table of our own and not strerrorname_np: programs compare these names, so they must be the same with every C
 * library, and a static agent may be linked with one that has no such function. Aliases have one name: EAGAIN
 * (EWOULDBLOCK), ENOTSUP (EOPNOTSUPP), EDEADLK (EDEADLOCK). EREMOTE is left out: no call of ours meets that errno, and
 * VMCTL_EREMOTE has the name. */
static const char *const error_names[] = {
    [0] = "OK",
    NAME(EPERM), NAME(ENOENT), NAME(ESRCH), NAME(EINTR), NAME(EIO), NAME(ENXIO), NAME(E2BIG), NAME(ENOEXEC),
    NAME(EBADF), NAME(ECHILD), NAME(EAGAIN), NAME(ENOMEM), NAME(EACCES), NAME(EFAULT), NAME(ENOTBLK), NAME(EBUSY),
    NAME(EEXIST), NAME(EXDEV), NAME(ENODEV), NAME(ENOTDIR), NAME(EISDIR), NAME(EINVAL), NAME(ENFILE), NAME(EMFILE),
    NAME(ENOTTY), NAME(ETXTBSY), NAME(EFBIG), NAME(ENOSPC), NAME(ESPIPE), NAME(EROFS), NAME(EMLINK), NAME(EPIPE),
    NAME(EDOM), NAME(ERANGE), NAME(EDEADLK), NAME(ENAMETOOLONG), NAME(ENOLCK), NAME(ENOSYS), NAME(ENOTEMPTY),
    NAME(ELOOP), NAME(ENOMSG), NAME(EIDRM), NAME(ECHRNG), NAME(EL2NSYNC), NAME(EL3HLT), NAME(EL3RST), NAME(ELNRNG),
    NAME(EUNATCH), NAME(ENOCSI), NAME(EL2HLT), NAME(EBADE), NAME(EBADR), NAME(EXFULL), NAME(ENOANO), NAME(EBADRQC),
    NAME(EBADSLT), NAME(EBFONT), NAME(ENOSTR), NAME(ENODATA), NAME(ETIME), NAME(ENOSR), NAME(ENONET), NAME(ENOPKG),
    NAME(ENOLINK), NAME(EADV), NAME(ESRMNT), NAME(ECOMM), NAME(EPROTO), NAME(EMULTIHOP), NAME(EDOTDOT),
    NAME(EBADMSG), NAME(EOVERFLOW), NAME(ENOTUNIQ), NAME(EBADFD), NAME(EREMCHG), NAME(ELIBACC), NAME(ELIBBAD),
    NAME(ELIBSCN), NAME(ELIBMAX), NAME(ELIBEXEC), NAME(EILSEQ), NAME(ERESTART), NAME(ESTRPIPE), NAME(EUSERS),
    NAME(ENOTSOCK), NAME(EDESTADDRREQ), NAME(EMSGSIZE), NAME(EPROTOTYPE), NAME(ENOPROTOOPT), NAME(EPROTONOSUPPORT),
    NAME(ESOCKTNOSUPPORT), NAME(ENOTSUP), NAME(EPFNOSUPPORT), NAME(EAFNOSUPPORT), NAME(EADDRINUSE),
    NAME(EADDRNOTAVAIL), NAME(ENETDOWN), NAME(ENETUNREACH), NAME(ENETRESET), NAME(ECONNABORTED), NAME(ECONNRESET),
    NAME(ENOBUFS), NAME(EISCONN), NAME(ENOTCONN), NAME(ESHUTDOWN), NAME(ETOOMANYREFS), NAME(ETIMEDOUT),
    NAME(ECONNREFUSED), NAME(EHOSTDOWN), NAME(EHOSTUNREACH), NAME(EALREADY), NAME(EINPROGRESS), NAME(ESTALE),
    NAME(EUCLEAN), NAME(ENOTNAM), NAME(ENAVAIL), NAME(EISNAM), NAME(EREMOTEIO), NAME(EDQUOT), NAME(ENOMEDIUM),
    NAME(EMEDIUMTYPE), NAME(ECANCELED), NAME(ENOKEY), NAME(EKEYEXPIRED), NAME(EKEYREVOKED), NAME(EKEYREJECTED),
    NAME(EOWNERDEAD), NAME(ENOTRECOVERABLE), NAME(ERFKILL), NAME(EHWPOISON),
};

/* In the order of the enumeration, downwards from VMCTL_EOF. */
static const struct error_own {
    const char *name;
    const char *text;
} error_own[] = {
    [VMCTL_EOF - VMCTL_EOF] = { "EOF", "end of stream" },
    [VMCTL_EOF - VMCTL_ECLOSED] = { "ECLOSED", "closed" },
    [VMCTL_EOF - VMCTL_ETOOBIG] = { "ETOOBIG", "longer than the limit allows" },
    [VMCTL_EOF - VMCTL_ERESOLVE] = { "ERESOLVE", "host name has no address" },
    [VMCTL_EOF - VMCTL_EREMOTE] = { "EREMOTE", "the peer reported a failure" },
};

static const struct error_own *error_find_own(int err)
{
    if (err > VMCTL_EOF || err <= VMCTL_EOF - COUNT(error_own))
        return NULL;
    return &error_own[VMCTL_EOF - err];
}

static const char *error_find_errno(int err)
{
    if (err > 0 || err <= -COUNT(error_names)) /* and INT_MIN is never negated */
        return NULL;
    return error_names[-err];
}

/* The C library's sentence, untranslated where that is to be had. For an errno that is known, as all of ours are, even
 * strerror answers with a constant and is safe in threads. */
static const char *error_libc_text(int number)
{
    if (number == ETIMEDOUT) /* not only connections time out */
        return "timed out";
    if (number == ECANCELED)
        return "cancelled";
#if defined __GLIBC__ && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)
    const char *text = strerrordesc_np(number);
#else
    const char *text = strerror(number);
#endif
    return text ? text : "unknown error";
}

const char *vmctl_error_name(int err)
{
    const struct error_own *own = error_find_own(err);
    if (own)
        return own->name;
    const char *name = error_find_errno(err);
    return name ? name : "EUNKNOWN";
}

const char *vmctl_error_text(int err)
{
    const struct error_own *own = error_find_own(err);
    if (own)
        return own->text;
    return error_find_errno(err) ? error_libc_text(-err) : "unknown error";
}
