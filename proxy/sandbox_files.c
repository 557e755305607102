/* Landlock (landlock(7)): by its numbers, as the system's headers may be older than the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/sandbox_internal.h"

#define ACCESS_V1        ((1ull << 13) - 1) /* from EXECUTE to MAKE_SYM */
#define ACCESS_REFER     (1ull << 13)       /* ABI 2 */
#define ACCESS_TRUNCATE  (1ull << 14)       /* ABI 3 */
#define ACCESS_IOCTL_DEV (1ull << 15)       /* ABI 5 */
#define SCOPE_SIGNAL     (1ull << 1)        /* ABI 6 */

/* As of ABI 6; an older kernel is told of a shorter one. */
struct ruleset {
    uint64_t files, network, scoped;
};

static uint64_t known_rights(int version)
{
    return ACCESS_V1 | (version >= 2 ? ACCESS_REFER : 0) | (version >= 3 ? ACCESS_TRUNCATE : 0) |
           (version >= 5 ? ACCESS_IOCTL_DEV : 0);
}

static uint64_t rights_of(unsigned uses, bool is_folder)
{
    uint64_t rights = 0;
    if (uses & SANDBOX_READ)
        rights |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    if (uses & SANDBOX_WRITE)
        rights |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG;
    if (uses & SANDBOX_BIND)
        rights |= LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    if (uses & SANDBOX_EXECUTE)
        rights |= LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE;
    if (uses & SANDBOX_DEVICE)
        rights |= LANDLOCK_ACCESS_FS_WRITE_FILE;
    return is_folder ? rights
                     : rights & (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                 LANDLOCK_ACCESS_FS_READ_FILE);
}

static int allow(int rules, const struct sandbox_place *place)
{
    struct stat st;
    int fd = open(place->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == EACCES ? 0 : -1; /* gone, or nothing that could be opened */
    int result = fstat(fd, &st);
    if (result == 0) {
        struct landlock_path_beneath_attr rule = {
            .allowed_access = rights_of(place->uses, S_ISDIR(st.st_mode)), .parent_fd = fd};
        if (rule.allowed_access)
            result = (int)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

int sandbox_restrict_files(const struct sandbox *sb, int *version, const char **why)
{
    *version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (*version <= 0) {
        *version = 0;
        return 0;
    }
    struct ruleset all = {.files = known_rights(*version), .scoped = *version >= 6 ? SCOPE_SIGNAL : 0};
    size_t size = *version >= 6 ? sizeof all : *version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    *why = "Landlock's rules";
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (rules < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < sb->count && result == 0; i++)
        result = allow(rules, &sb->places[i]);
    if (result == 0)
        result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (result == 0)
        result = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    int error = errno;
    close(rules);
    errno = error;
    return result;
}
