/* recv(), send() and sendmsg() for the bytes of connections. Those of libc are points where a thread may be
 * cancelled, and in a process with threads each pays for that with two atomic exchanges and some fifty
 * instructions. No thread of weir's is ever cancelled. */
#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline ssize_t call_recv(int fd, void *buf, size_t size, int flags)
{
    return syscall(SYS_recvfrom, fd, buf, size, flags, NULL, NULL);
}

static inline ssize_t call_send(int fd, const void *buf, size_t size, int flags)
{
    return syscall(SYS_sendto, fd, buf, size, flags, NULL, 0);
}

static inline ssize_t call_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return syscall(SYS_sendmsg, fd, message, flags);
}
