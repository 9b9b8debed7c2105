/* Stage 1's readers of a disk and of the kernel's command line: the input's first byte says where on the disk the rest of it is.
 * sources: src/agent/filesystem.c src/agent/percent.c */
#include "fuzz.h"

#include "agent/stage1.h"

#include <sys/mman.h>
#include <unistd.h>

enum { DISK = 0x10400 };

static const size_t places[] = { 0, 1024, 0x10000 };

static int disk_fd(void)
{
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("disk", 0);
        CHECK(fd >= 0);
    }
    CHECK(ftruncate(fd, 0) == 0 && ftruncate(fd, DISK) == 0);
    return fd;
}

static void check_filesystem(const struct vmctl_filesystem *fs)
{
    CHECK(memchr(fs->label, 0, sizeof fs->label) != NULL);
    CHECK(memchr(fs->uuid, 0, sizeof fs->uuid) != NULL);
    if (!fs->type) {
        CHECK(!fs->look_options && !fs->label[0] && !fs->uuid[0]);
        return;
    }
    bool container = strcmp(fs->type, "LVM") == 0 || strcmp(fs->type, "LUKS") == 0; /* told by name, and never mounted */
    CHECK((fs->look_options == NULL) == container);
    CHECK(strspn(fs->uuid, "0123456789abcdef-") == strlen(fs->uuid) && (!fs->uuid[0] || strlen(fs->uuid) == 36));
}

static void try_disk(const uint8_t *data, size_t size)
{
    char path[64];
    struct vmctl_filesystem fs;
    int fd = disk_fd();
    size_t at = places[data[0] % (sizeof places / sizeof *places)];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (size - 1 < DISK - at) {
        CHECK(pwrite(fd, data + 1, size - 1, (off_t)at) == (ssize_t)size - 1);
        if (data[0] & 0x80) /* the disk ends here */
            CHECK(ftruncate(fd, (off_t)(at + size - 1)) == 0);
    }
    vmctl_filesystem_probe(path, &fs);
    check_filesystem(&fs);
}

/* In blocks of exactly their size. */
static void try_word(const uint8_t *data, size_t size)
{
    char *word = malloc(size + 1), *out = malloc(size + 1);
    CHECK(word && out);
    memcpy(word, data, size);
    word[size] = 0;
    vmctl_stage1_undo_percent(out, size + 1, word);
    CHECK(strlen(out) <= strlen(word));
    CHECK(strchr(word, '%') || strcmp(word, out) == 0);
    for (size_t room = 1; room <= size; room += room) {
        char *less = malloc(room);
        CHECK(less != NULL);
        vmctl_stage1_undo_percent(less, room, word);
        CHECK(strlen(less) < room && memcmp(less, out, strlen(less)) == 0);
        free(less);
    }
    vmctl_stage1_undo_percent(word, size + 1, word);
    CHECK(strcmp(word, out) == 0);
    free(word);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    try_disk(data, size);
    try_word(data + 1, size - 1);
    return 0;
}
