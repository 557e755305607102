/* The program's log: an event in words and its fields, as text or JSON, one line each. Never blocks
 * (writer.h) once log_to() has named a sink; until then lines go straight to standard error. A line longer
 * than 4 KiB is cut: its last text, and the fields behind it, are lost.
 *
 *     log_info("configuration reloaded", LOG_U64("generation", 4), LOG_TEXT("file", path));
 */
#pragma once

#include "core/slice.h"
#include "core/writer.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *name;
    struct slice text;
    int64_t number;
    bool is_number;
};

#define LOG_TEXT(name_, text_)                                                                               \
    {                                                                                                        \
        .name = (name_), .text = slice_text(text_)                                                           \
    }
#define LOG_SLICE(name_, slice_)                                                                             \
    {                                                                                                        \
        .name = (name_), .text = (slice_)                                                                    \
    }
#define LOG_U64(name_, value_)                                                                               \
    {                                                                                                        \
        .name = (name_), .number = (int64_t)(value_), .is_number = true                                      \
    }

/* Level and format may be changed at any time, from any thread. */
void log_set(enum log_level level, enum log_format format);
/* Lines go to the sink from now on (not owned; the one before is no longer used when this returns). NULL =
 * straight to standard error. */
void log_to(struct sink *s);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count);

#define LOG_AT_(level, event, ...)                                                                           \
    do {                                                                                                     \
        if (log_enabled(level)) {                                                                            \
            struct log_field fields_[] = {{.name = NULL}, ##__VA_ARGS__};                                    \
            log_write((level), (event), fields_ + 1, sizeof fields_ / sizeof fields_[0] - 1);                \
        }                                                                                                    \
    } while (0)
#define log_debug(event, ...) LOG_AT_(LOG_LEVEL_DEBUG, event, ##__VA_ARGS__)
#define log_info(event, ...)  LOG_AT_(LOG_LEVEL_INFO, event, ##__VA_ARGS__)
#define log_warn(event, ...)  LOG_AT_(LOG_LEVEL_WARN, event, ##__VA_ARGS__)
#define log_error(event, ...) LOG_AT_(LOG_LEVEL_ERROR, event, ##__VA_ARGS__)

/* Writes s as the inside of a JSON string (no quotes) to out, as far as it fits; the length. Bytes that are
 * no UTF-8 become U+FFFD. */
size_t json_escape(struct slice s, char *out, size_t size);
