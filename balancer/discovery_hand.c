/* What the API adds to an upstream and takes away from it. */
#include <stdlib.h>

#include "balancer/discovery_internal.h"

struct hand {
    struct source source;
    struct slice *hidden; /* malloc'ed each */
    size_t hidden_count;
};

static struct hand *hand_of(const struct source *s)
{
    ASSERT(s->kind == SOURCE_HAND);
    return CONTAINER_OF(s, struct hand, source);
}

static int start(struct source *s)
{
    s->answered = true;
    return 0;
}

static void stop(struct source *s)
{
    struct hand *h = hand_of(s);
    for (size_t i = 0; i < h->hidden_count; i++)
        free((char *)(uintptr_t)h->hidden[i].at);
    free(h->hidden);
}

const struct source_kind_ops source_hand = {
    .name = "hand", .size = sizeof(struct hand), .start = start, .stop = stop};

static size_t find_hidden(const struct hand *h, struct slice name)
{
    size_t i = 0;
    while (i < h->hidden_count && !slice_equal(h->hidden[i], name))
        i++;
    return i;
}

bool hand_hides(const struct source *hand, struct slice name)
{
    const struct hand *h = hand_of(hand);
    return find_hidden(h, name) < h->hidden_count;
}

const struct slice *hand_hidden(const struct source *hand, size_t *count)
{
    *count = hand_of(hand)->hidden_count;
    return hand_of(hand)->hidden;
}

static void show(struct hand *h, struct slice name)
{
    size_t i = find_hidden(h, name);
    if (i == h->hidden_count)
        return;
    free((char *)(uintptr_t)h->hidden[i].at);
    h->hidden[i] = h->hidden[--h->hidden_count];
}

static int hide(struct hand *h, struct slice name)
{
    struct slice *larger = realloc(h->hidden, (h->hidden_count + 1) * sizeof *larger);
    if (!larger)
        return -1;
    h->hidden = larger;
    char *copy = strndup(name.at, name.len);
    if (!copy)
        return -1;
    h->hidden[h->hidden_count++] = slice_of(copy, name.len);
    return 0;
}

/* The answer without the server of that name, with room for one more. */
static struct found **without(struct source *s, struct slice name, size_t *count)
{
    struct found **out = calloc(s->found_count + 2, sizeof(struct found *));
    *count = 0;
    for (size_t i = 0; out && i < s->found_count; i++)
        if (!slice_equal(s->found[i]->settings.address, name))
            out[(*count)++] = found_hold(s->found[i]);
    return out;
}

int hand_add(struct source *hand, struct found *added)
{
    size_t count;
    struct found **found = without(hand, added->settings.address, &count);
    if (!found) {
        found_release(added);
        return -1;
    }
    show(hand_of(hand), added->settings.address);
    found[count++] = added;
    source_publish(hand, found, count, "");
    return 0;
}

int hand_remove(struct source *hand, struct slice name, bool hides)
{
    size_t count;
    struct found **found = without(hand, name, &count);
    if (!found)
        return -1;
    if (hides && !hand_hides(hand, name) && hide(hand_of(hand), name) != 0) {
        for (size_t i = 0; i < count; i++)
            found_release(found[i]);
        free(found);
        return -1;
    }
    source_publish(hand, found, count, "");
    return 0;
}
