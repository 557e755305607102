/* What one slow server of ten costs, by policy: a discrete event simulation around the very policy code that
 * weir runs. Prints the table that docs/balancing.md has.
 *
 *     simulate [LOAD]     LOAD: of what ten healthy servers can do, 0.65 if absent
 *
 * The model: ten servers of eight threads each, with a queue before them without end; service times are
 * exponential, 10 ms in the mean; requests arrive at random (Poisson), with one of 10,000 keys, at one of
 * four workers. From the 20th second to the 80th one server takes ten times as long. What is measured are the
 * requests that arrive in that minute, and how long each waits and is served; in the first 20 seconds, when
 * all is well; and how the server's share comes back afterwards. The clock is the simulation's: it starts
 * where it may and takes no time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/draw.h"

enum { SERVERS = 10, THREADS = 8, WORKERS = 4, KEYS = 10000, SLOW = 3 };

#define SERVICE_US 10000.0
#define SLOWED     10.0
#define SLOW_FROM  20e6
#define SLOW_TO    80e6
#define END_US     120e6
#define CLOCK_US   1000000u /* 0 is no time for a policy */

struct request {
    double arrived, begun;
    struct request *next; /* in the queue */
    unsigned worker, server;
};

struct event {
    double at;
    struct request *request; /* that ends; NULL = the next one arrives */
};

struct queue {
    struct request *first, **last;
    unsigned busy;
};

struct samples {
    double *at;
    size_t count, room;
};

struct simulation {
    const struct policy *policy;
    struct tier tier;
    struct server *servers[SERVERS];
    void *states[WORKERS];
    struct queue queues[SERVERS];
    struct event *events; /* a heap */
    size_t event_count, event_room;
    uint64_t random;
    double now, between;
    struct samples well, slow;
    size_t to_slow, arrived_slow; /* during the minute */
    size_t to_back, arrived_back; /* in the last 20 seconds */
};

static void *grow(void *at, size_t *room, size_t count, size_t size)
{
    if (count < *room)
        return at;
    *room = *room ? *room * 2 : 1024;
    at = realloc(at, *room * size);
    if (!at)
        exit(1);
    return at;
}

static double exponential(struct simulation *s, double mean)
{
    return -mean * log(((double)(random_next(&s->random) >> 11) + 1) / 9007199254740993.0);
}

/* Events. */

static void add_event(struct simulation *s, struct event e)
{
    s->events = grow(s->events, &s->event_room, s->event_count, sizeof e);
    size_t i = s->event_count++;
    for (; i > 0 && s->events[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        s->events[i] = s->events[(i - 1) / 2];
    s->events[i] = e;
}

static struct event take_event(struct simulation *s)
{
    struct event first = s->events[0], e = s->events[--s->event_count];
    size_t i = 0;
    for (size_t child = 1; child < s->event_count; child = 2 * i + 1) {
        if (child + 1 < s->event_count && s->events[child + 1].at < s->events[child].at)
            child++;
        if (s->events[child].at >= e.at)
            break;
        s->events[i] = s->events[child];
        i = child;
    }
    s->events[i] = e;
    return first;
}

/* Servers. */

static bool is_slow_time(double at)
{
    return at >= SLOW_FROM && at < SLOW_TO;
}

static void begin(struct simulation *s, struct request *r)
{
    double mean = r->server == SLOW && is_slow_time(s->now) ? SERVICE_US * SLOWED : SERVICE_US;
    s->queues[r->server].busy++;
    add_event(s, (struct event){s->now + exponential(s, mean), r});
}

static void arrive(struct simulation *s)
{
    struct request *r = calloc(1, sizeof *r);
    if (!r)
        exit(1);
    r->arrived = s->now;
    r->worker = (unsigned)random_below(&s->random, WORKERS);
    const struct pick p = {.hash = random_mix(random_below(&s->random, KEYS) + 1) | 1,
                           .now_us = CLOCK_US + (usec_t)s->now};
    struct server *server = s->policy->pick(s->states[r->worker], &s->tier, &p);
    while (s->servers[r->server] != server)
        r->server++;
    server_begin(server);
    s->arrived_slow += is_slow_time(s->now);
    s->to_slow += is_slow_time(s->now) && r->server == SLOW;
    s->arrived_back += s->now >= END_US - 20e6;
    s->to_back += s->now >= END_US - 20e6 && r->server == SLOW;

    struct queue *q = &s->queues[r->server];
    if (q->busy < THREADS) {
        begin(s, r);
    } else {
        *q->last = r;
        q->last = &r->next;
    }
    if (s->now + s->between < END_US)
        add_event(s, (struct event){s->now + exponential(s, s->between), NULL});
}

static void add_sample(struct samples *to, double value)
{
    to->at = grow(to->at, &to->room, to->count, sizeof *to->at);
    to->at[to->count++] = value;
}

static void end(struct simulation *s, struct request *r)
{
    struct queue *q = &s->queues[r->server];
    double took = s->now - r->arrived;
    const struct outcome o = {.kind = OUTCOME_ANSWERED,
                              .status = 200,
                              .head_us = (usec_t)took,
                              .took_us = (usec_t)took,
                              .now_us = CLOCK_US + (usec_t)s->now};
    server_end(s->servers[r->server]);
    if (s->policy->done)
        s->policy->done(s->states[r->worker], &s->tier, s->servers[r->server], &o);
    if (r->arrived < SLOW_FROM)
        add_sample(&s->well, took);
    else if (is_slow_time(r->arrived))
        add_sample(&s->slow, took);
    free(r);

    q->busy--;
    struct request *waits = q->first;
    if (!waits)
        return;
    q->first = waits->next;
    if (!q->first)
        q->last = &q->first;
    begin(s, waits);
}

/* Running. */

static void set_up(struct simulation *s, const struct policy *policy, double load)
{
    static const struct policy_options options = {.bound = 125, .seed = 1};
    *s = (struct simulation){.policy = policy, .random = 88172645463325252u};
    s->between = SERVICE_US / (SERVERS * THREADS * load);
    for (unsigned i = 0; i < SERVERS; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "10.0.0.%u:80", i + 1);
        s->servers[i] = server_create(NULL, S("simulated"), slice_of(name, (size_t)len));
        if (!s->servers[i])
            exit(1);
        server_configure(s->servers[i], 1, 0, false);
        s->queues[i].last = &s->queues[i].first;
    }
    s->tier = (struct tier){.servers = s->servers, .count = SERVERS, .options = &options};
    if (policy->share && !(s->tier.shared = policy->share(&s->tier)))
        exit(1);
    for (unsigned w = 0; w < WORKERS; w++) {
        s->states[w] = calloc(1, policy->size(&s->tier) + 1);
        if (!s->states[w])
            exit(1);
        policy->init(s->states[w], &s->tier, w);
    }
    add_event(s, (struct event){0, NULL});
}

static void tear_down(struct simulation *s)
{
    for (unsigned w = 0; w < WORKERS; w++)
        free(s->states[w]);
    if (s->policy->unshare)
        s->policy->unshare(s->tier.shared);
    for (unsigned i = 0; i < SERVERS; i++)
        server_release(s->servers[i]);
    free(s->events);
    free(s->well.at);
    free(s->slow.at);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_share(struct samples *of, double share)
{
    double us = of->at[(size_t)((double)(of->count - 1) * share)];
    if (us < 1e6)
        printf(" %.0f ms |", us / 1e3);
    else
        printf(" %.1f s |", us / 1e6);
}

static void report(struct simulation *s)
{
    qsort(s->well.at, s->well.count, sizeof(double), by_value);
    qsort(s->slow.at, s->slow.count, sizeof(double), by_value);
    printf("| `%s` |", s->policy->name);
    print_share(&s->well, 0.5);
    print_share(&s->well, 0.99);
    print_share(&s->slow, 0.5);
    print_share(&s->slow, 0.99);
    print_share(&s->slow, 0.999);
    printf(" %.1f %% |", 100.0 * (double)s->to_slow / (double)s->arrived_slow);
    printf(" %.1f %% |\n", 100.0 * (double)s->to_back / (double)s->arrived_back);
}

int main(int argc, char **argv)
{
    static const struct policy *const policies[] = {
        &policy_round_robin, &policy_least_connections, &policy_random_two, &policy_ewma, &policy_ring_hash,
        &policy_maglev,      &policy_source_hash};
    double load = argc > 1 ? strtod(argv[1], NULL) : 0.65;
    if (argc > 2 || !(load > 0 && load < 1)) {
        fprintf(stderr, "usage: simulate [LOAD]   0 < LOAD < 1\n");
        return 2;
    }
    printf(
        "| `balance` | all well: p50 | p99 | one slow: p50 | p99 | p99.9 | the slow one gets | well again |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct simulation s;
        set_up(&s, policies[i], load);
        while (s.event_count) {
            struct event e = take_event(&s);
            s.now = e.at;
            if (e.request)
                end(&s, e.request);
            else
                arrive(&s);
        }
        report(&s);
        tear_down(&s);
    }
    return 0;
}
