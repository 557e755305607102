#include "cache/redis/reader.h"

#include <stdlib.h>

#ifdef WEIR_REDIS

#include <hiredis/read.h>

struct redis_reader {
    redisReader *parser;
    size_t limit, fed; /* bytes since the last whole reply */
};

static void *make_text(const redisReadTask *task, char *text, size_t len);
static void *make_list(const redisReadTask *task, int count);
static void *make_number(const redisReadTask *task, long long number);
static void *make_nothing(const redisReadTask *task);
static void free_object(void *object);

static const redisReplyObjectFunctions makers = {
    .createString = make_text,
    .createArray = make_list,
    .createInteger = make_number,
    .createNil = make_nothing,
    .freeObject = free_object,
};

bool redis_reader_is_built(void)
{
    return true;
}

struct redis_reader *redis_reader_create(size_t limit)
{
    struct redis_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->limit = limit;
    r->parser = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&makers);
    if (!r->parser) {
        free(r);
        return NULL;
    }
    return r;
}

void redis_reader_free(struct redis_reader *r)
{
    if (!r)
        return;
    redisReaderFree(r->parser);
    free(r);
}

int redis_reader_feed(struct redis_reader *r, struct slice bytes)
{
    r->fed += bytes.len;
    return redisReaderFeed(r->parser, bytes.at, bytes.len) == REDIS_OK ? 0 : -1;
}

int redis_reader_next(struct redis_reader *r, struct redis_reply **out)
{
    void *reply = NULL;
    if (redisReaderGetReply(r->parser, &reply) != REDIS_OK)
        return -1;
    size_t waiting = r->parser->len - r->parser->pos;
    if (!reply)
        return r->fed > r->limit ? -1 : 0;
    r->fed = waiting;
    *out = reply;
    return 1;
}

/* A reply of its own, or the place that its list has for it. Lists are allocated whole: what may stand in one
 * is bounded, and no list stands in a list. */
static struct redis_reply *place(const redisReadTask *task)
{
    if (!task->parent)
        return calloc(1, sizeof(struct redis_reply));
    struct redis_reply *list = task->parent->obj;
    return &list->at[task->idx];
}

static void *make_text(const redisReadTask *task, char *text, size_t len)
{
    char *copy = malloc(len + 1);
    if (!copy)
        return NULL;
    struct redis_reply *reply = place(task);
    if (!reply) {
        free(copy);
        return NULL;
    }
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    reply->kind = task->type == REDIS_REPLY_ERROR ? REDIS_FAULT : REDIS_TEXT;
    reply->text = slice_of(copy, len);
    return reply;
}

static void *make_list(const redisReadTask *task, int count)
{
    if (task->parent || count < 0 || (unsigned)count > REDIS_READER_ELEMENTS)
        return NULL;
    struct redis_reply *reply = place(task);
    if (!reply)
        return NULL;
    reply->kind = REDIS_LIST;
    reply->at = calloc(count ? (size_t)count : 1, sizeof *reply->at);
    reply->count = (size_t)count;
    if (!reply->at) {
        free(reply);
        return NULL;
    }
    return reply;
}

static void *make_number(const redisReadTask *task, long long number)
{
    struct redis_reply *reply = place(task);
    if (!reply)
        return NULL;
    reply->kind = REDIS_NUMBER;
    reply->number = number;
    return reply;
}

static void *make_nothing(const redisReadTask *task)
{
    struct redis_reply *reply = place(task);
    if (reply)
        reply->kind = REDIS_NOTHING;
    return reply;
}

static void free_object(void *object)
{
    redis_reply_free(object);
}

#else

bool redis_reader_is_built(void)
{
    return false;
}

struct redis_reader *redis_reader_create(size_t limit)
{
    (void)limit;
    return NULL;
}

void redis_reader_free(struct redis_reader *r)
{
    (void)r;
}

int redis_reader_feed(struct redis_reader *r, struct slice bytes)
{
    (void)r;
    (void)bytes;
    return -1;
}

int redis_reader_next(struct redis_reader *r, struct redis_reply **out)
{
    (void)r;
    (void)out;
    return -1;
}

#endif

void redis_reply_free(struct redis_reply *reply)
{
    if (!reply)
        return;
    for (size_t i = 0; i < reply->count; i++)
        free((void *)(uintptr_t)reply->at[i].text.at);
    free(reply->at);
    free((void *)(uintptr_t)reply->text.at);
    free(reply);
}
