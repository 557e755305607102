/* Small things that every file may need: assertions, CONTAINER_OF, units of time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Stays on in production; only for what can be nobody's mistake but ours. */
#define ASSERT(condition)                                                                                    \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0))                                                               \
            assert_failed(#condition, __FILE__, __LINE__);                                                   \
    } while (0)
_Noreturn void assert_failed(const char *condition, const char *file, int line);

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* The struct that embeds *pointer as its `member`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* As memset() to 0, for a few hundred bytes: where compilers know the size they make a slow REP STOS of it.
 */
static inline void clear_bytes(void *at, size_t size)
{
    __asm__("" : "+r"(size));
    memset(at, 0, size);
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Milliseconds and microseconds of CLOCK_MONOTONIC, or a span of them. */
typedef uint64_t msec_t;
typedef uint64_t usec_t;
