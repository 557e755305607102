#include "proxy/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No program that is started from here on, set-user-id or with capabilities of its own, gets another one.
 * While still root: the bounding set is its to change. */
static int bound_capabilities(void)
{
    for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (c != CAP_NET_BIND_SERVICE && prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0 && errno != EPERM)
            return -1; /* EPERM: a container that took CAP_SETPCAP away has bounded them itself */
    return 0;
}

/* Where the process has no such capability (a container may take it away), there is none to keep. Ambient:
 * the program that an upgrade starts has it too. */
static int keep_binding(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0)
        return -1;
    uint32_t kept = data[0].permitted & 1u << CAP_NET_BIND_SERVICE;
    data[0] = (struct __user_cap_data_struct){.permitted = kept, .effective = kept, .inheritable = kept};
    data[1] = (struct __user_cap_data_struct){0};
    if (syscall(SYS_capset, &header, data) != 0)
        return -1;
    if (kept)
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
    return 0;
}

static const struct passwd *find(struct slice user, char name[256], const char **why)
{
    *why = "the user's name is too long";
    errno = EINVAL;
    if (user.len >= 256)
        return NULL;
    memcpy(name, user.at, user.len);
    name[user.len] = 0;
    *why = "there is no such user";
    const struct passwd *p = getpwnam(name);
    errno = ENOENT;
    return p;
}

int privileges_find(struct slice user, uid_t *uid, gid_t *gid, const char **why)
{
    char name[256];
    const struct passwd *p = find(user, name, why);
    if (!p)
        return -1;
    *uid = p->pw_uid;
    *gid = p->pw_gid;
    return 0;
}

int privileges_drop(struct slice user, const char **why)
{
    char name[256];
    if (user.len == 0 || geteuid() != 0)
        return 0;
    const struct passwd *p = find(user, name, why);
    if (!p)
        return -1;
    *why = "cannot become the user";
    if (bound_capabilities() != 0 || prctl(PR_SET_KEEPCAPS, 1) != 0 || initgroups(name, p->pw_gid) != 0 ||
        setgid(p->pw_gid) != 0 || setuid(p->pw_uid) != 0 || keep_binding() != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0)
        return -1;
    return 0;
}
