/* The filter of system calls. What stands in `ordinary` is what weir and its libraries make in any of their
 * ways - serving, reloading, upgrading, ending -, found by running the tests in the sandbox, and what the C
 * library of a newer system makes instead. */
#include "proxy/sandbox_internal.h"

#ifdef WEIR_SECCOMP
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their own calls are let through */
#else
#define SANITIZED 0
#endif

/* clang-format off */
static const char *const ordinary[] = {
    /* files and descriptors */
    "access", "close", "close_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchmod",
    "fchmodat", "fchmodat2", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents", "getdents64",
    "lseek", "lstat", "memfd_create", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "stat", "statfs", "statx", "umask", "unlink",
    "unlinkat", "write", "writev",
    /* waiting */
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "pause", "poll", "ppoll", "pselect6", "select",
    "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    /* sockets and what goes through them; socket() itself by its family */
    "accept", "accept4", "bind", "connect", "copy_file_range", "getpeername", "getsockname", "getsockopt", "listen", "pipe",
    "pipe2", "recvfrom", "recvmmsg", "recvmsg", "sendfile", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socketpair", "splice", "tee", "vmsplice",
    /* memory; executable too, for regular expressions that are compiled */
    "brk", "madvise", "mincore", "mlock", "mlock2", "mmap", "mprotect", "mremap", "msync", "munlock", "munmap",
    /* threads, time, signals to itself and to the program that an upgrade starts */
    "clock_getres", "clock_gettime", "clock_nanosleep", "exit", "exit_group", "futex", "futex_waitv", "get_robust_list", "getcpu",
    "getitimer", "getpriority", "getrandom", "getrlimit", "getrusage", "gettid", "gettimeofday", "kill", "membarrier", "nanosleep",
    "prlimit64", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_setaffinity", "sched_yield",
    "set_robust_list", "set_tid_address", "setitimer", "setrlimit", "sigaltstack", "sysinfo", "tgkill", "time", "times", "tkill",
    "uname",
    /* who it is */
    "capget", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getresgid", "getresuid",
    "getsid", "getuid",
    /* an upgrade: this very program again; which others may be executed, Landlock says */
    "arch_prctl", "execve", "fork", "vfork", "wait4", "waitid", "riscv_flush_icache", "set_thread_area",
    /* a sandbox in the sandbox takes nothing away from it */
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
};

/* Nothing that weir links makes these: whoever does is an intruder. */
static const char *const hostile[] = {
    "add_key", "bpf", "chroot", "delete_module", "finit_module", "fsconfig", "fsmount", "fsopen", "init_module", "ioperm", "iopl",
    "kexec_file_load", "kexec_load", "keyctl", "mount", "mount_setattr", "move_mount", "open_by_handle_at",
    "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_writev", "reboot", "request_key",
    "setns", "swapoff", "swapon", "umount2", "unshare", "uselib", "userfaultfd",
#if !SANITIZED
    "process_vm_readv", "ptrace",
#endif
};
/* clang-format on */

#define NAMESPACES                                                                                           \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET)

/* A name that this machine's kernel interface does not have is none to allow. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *name)
{
    int call = seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR)
        return 0;
    int error = seccomp_rule_add(filter, action, call, 0);
    return error == -EDOM ? 0 : error;
}

static int add_equal(scmp_filter_ctx filter, int call, unsigned argument, const uint64_t *values,
                     size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && !error; i++) {
        struct scmp_arg_cmp is = {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = values[i]};
        error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &is);
    }
    return error;
}

/* Those of which only some are ordinary. */
static int add_by_argument(scmp_filter_ctx filter)
{
    static const uint64_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    /* the last two are the names of link-local addresses' interfaces */
    static const uint64_t controls[] = {FIONBIO,  FIONREAD,     FIOCLEX,    TCGETS,
                                        TIOCOUTQ, SIOCGIFINDEX, SIOCGIFNAME};
    static const uint64_t processes[] = {PR_SET_NAME,     PR_GET_NAME,         PR_SET_DUMPABLE,
                                         PR_GET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
                                         PR_GET_SECCOMP,  PR_CAPBSET_READ,     PR_SET_VMA};
    int error = add_equal(filter, SCMP_SYS(socket), 0, families, COUNT_OF(families));
    if (!error)
        error = add_equal(filter, SCMP_SYS(ioctl), 1, controls, COUNT_OF(controls));
    if (!error)
        error = SANITIZED ? add(filter, SCMP_ACT_ALLOW, "prctl")
                          : add_equal(filter, SCMP_SYS(prctl), 0, processes, COUNT_OF(processes));
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
    /* Its flags are in memory, where a filter does not look: the C library makes do with clone(). */
    if (!error)
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return error;
}

static int build(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < COUNT_OF(ordinary) && !error; i++)
        error = add(filter, SCMP_ACT_ALLOW, ordinary[i]);
    for (size_t i = 0; i < COUNT_OF(hostile) && !error; i++)
        error = add(filter, SCMP_ACT_KILL_PROCESS, hostile[i]);
    if (!error && SANITIZED) {
        error = add(filter, SCMP_ACT_ALLOW, "ptrace");
        error = error ? error : add(filter, SCMP_ACT_ALLOW, "process_vm_readv");
        error = error ? error : add(filter, SCMP_ACT_ALLOW, "personality");
    }
    if (!error)
        error = add_by_argument(filter);
    /* Refused calls stand in the audit log; frequent ones are found fast; threads that are there take part.
     */
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    if (error == -EOPNOTSUPP)
        error = 0; /* a kernel that cannot log them */
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    return error;
}

int sandbox_filter_calls(bool *filtered, const char **why)
{
    *filtered = false;
    *why = "the filter of system calls";
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return 0; /* a kernel without */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter) {
        errno = ENOMEM;
        return -1;
    }
    int error = build(filter);
    if (!error)
        error = seccomp_load(filter);
    seccomp_release(filter);
    errno = -error;
    *filtered = error == 0;
    return error ? -1 : 0;
}

#else

int sandbox_filter_calls(bool *filtered, const char **why)
{
    *filtered = false;
    *why = "";
    return 0;
}

#endif
