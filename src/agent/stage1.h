/* Stage 1: the agent as the first program of an initramfs finds the guest's own root file system and moves into it. */
/* The kernel's command line has the options (a word's value has %XX for bytes that it cannot hold):
 *   vmctl.root=image         the disk with the serial vmctl-root is an EROFS; an overlay is on it if it is to be written or lacks folders
 *   vmctl.root=disk[:WHICH]  that disk has the root: WHICH is a partition's number, a label or a UUID (else it is looked for)
 *   vmctl.upper=disk         the overlay's upper layer is the ext4 on the disk vmctl-upper (else a tmpfs)
 *   vmctl.ro                 the root is mounted read-only
 *   vmctl.init=agent|system|run:WORD[,WORD]...   what becomes PID 1
 *   vmctl.folder=PATH        a folder that is made if it is missing
 *   vmctl.share=TAG,PATH[,ro][,9p]  a folder of the host's, by virtiofs or 9p; may stand there several times
 *   vmctl.address=IP,BITS    of the first network card
 * The first of these asks for stage 1.
 */
#ifndef VMCTL_AGENT_STAGE1_H
#define VMCTL_AGENT_STAGE1_H

#include <stdbool.h>
#include <stddef.h>

enum { STAGE1_TEXT = 1024, STAGE1_NAME = 64, STAGE1_LABEL = 257, STAGE1_SHARES = 16, STAGE1_PATH = 256 };

struct vmctl_stage1_share {
    char tag[STAGE1_NAME], path[STAGE1_PATH];
    bool read_only, nine;
};

struct vmctl_stage1 {
    bool image, upper_disk, read_only;
    char which[STAGE1_LABEL]; /* "" : to be looked for */
    char init[STAGE1_TEXT], folder[STAGE1_PATH];
    struct vmctl_stage1_share shares[STAGE1_SHARES];
    size_t nshares;
    char address[STAGE1_NAME]; /* "" : none */
};

enum vmctl_stage1_end { STAGE1_AGENT, STAGE1_KEEPER };

/* A file system as its first blocks tell of it. */
struct vmctl_filesystem {
    const char *type;         /* as mount takes it, NULL: unknown */
    const char *look_options; /* mount options with which nothing is written; NULL: it is no file system, but LVM's or LUKS's */
    char label[STAGE1_LABEL], uuid[37];
};

/* True if the command line asks for stage 1; /proc must be mounted. */
bool vmctl_stage1_wanted(struct vmctl_stage1 *s);

/* Moves into the root. Returns STAGE1_AGENT in PID 1, which is then the agent's, or STAGE1_KEEPER in a child of PID 1, which has
 * become the guest's own init: the child is to keep an agent running. Powers the machine off when a step fails. */
enum vmctl_stage1_end vmctl_stage1_run(const struct vmctl_stage1 *s);

/* Turns "%XX" into bytes; `out` may be `in`. */
void vmctl_stage1_undo_percent(char *out, size_t size, const char *in);

/* Reports the failed step and its object on the console, with errno's reason if `with_errno`, and powers off. */
_Noreturn void vmctl_stage1_fail(bool with_errno, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Waits for the disk with a serial, and gives its device. */
void vmctl_stage1_disk(const char *serial, char name[STAGE1_NAME]);

/* Mounts the root of a disk at `at`. */
void vmctl_stage1_mount_disk(const struct vmctl_stage1 *s, const char *disk, const char *at);

/* True if the file system that is mounted at `at` has a file that only a root has. */
bool vmctl_stage1_looks_like_root(const char *at);

/* The name of the subvolume of a btrfs that has the root; nothing is mounted at `at`, before and after. False: none has. */
bool vmctl_stage1_subvolume(const char *device, const char *at, char name[STAGE1_LABEL]);

/* Keeps a disk, with its partitions, from being written. */
void vmctl_stage1_forbid_writing(const char *disk);

/* Loads the modules of a file system, as the image lists them. */
void vmctl_stage1_load(const char *type);

/* Takes the value of vmctl.share. */
void vmctl_stage1_add_share(struct vmctl_stage1 *s, const char *value);

/* Loads the modules of the shares. */
void vmctl_stage1_load_for_shares(const struct vmctl_stage1 *s);

/* Inside the root: mounts the shares. */
void vmctl_stage1_mount_shares(const struct vmctl_stage1 *s);

/* Gives the first network card its address, and the guest a route: "IP,BITS[,GATEWAY[,NAMESERVER]]". Where no card is there yet, its
 * module is loaded from `root`, if that is not NULL. False: there is no card. */
bool vmctl_stage1_set_address(const char *address, const char *root);

/* Loads a module of the running kernel by the modprobe of a root: the initramfs lacks some. Reports a failure. */
void vmctl_stage1_modprobe(const char *root, const char *name);

/* Writes the name server of such an address into a root that has none. */
void vmctl_stage1_name_server(const char *address, const char *root);

/* Recognises the contents of a block device. */
void vmctl_filesystem_probe(const char *device, struct vmctl_filesystem *found);

/* Inside the root: arranges for the agent (the open program `agent`) and starts the init. Returns in the keeper alone, if one is needed. */
enum vmctl_stage1_end vmctl_stage1_start_init(const char *init, int agent);

/* In a distribution's initramfs, whose /run its systemd keeps: puts the agent and its unit there, and carries out vmctl's words on the
 * command line: a root that is read-only, an address. Returns the exit code. */
int vmctl_stage1_place(void);

#endif
