/* Connections that carry many requests, while they may take more of them. */
#include "balancer/pool_internal.h"

int pool_list(struct upstream_conn *uc, void (*retire)(struct upstream_conn *))
{
    struct pool_slot *slot = pool_make_slot(uc->pool, uc->server);
    ASSERT(!uc->retire);
    if (!slot)
        return -1;
    uc->retire = retire;
    list_prepend(&slot->listed, &uc->link);
    pool_slot_use(uc->pool, slot);
    return 0;
}

void pool_unlist(struct upstream_conn *uc)
{
    if (!uc->retire)
        return;
    uc->retire = NULL;
    list_remove(&uc->link);
    pool_slot_leave(uc->pool, pool_slot_of(uc->pool, uc->server));
}

struct list *pool_listed(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = pool_slot_of(p, s);
    return slot && !list_empty(&slot->listed) ? &slot->listed : NULL;
}

bool pool_has_future(const struct upstream_conn *uc, const struct upstream *u)
{
    return pool_leads_on(uc) && uc->transport == u->transport;
}

void pool_retire_listed(struct pool *p, bool all)
{
    LIST_EACH_SAFE (slot_node, &p->used) {
        struct pool_slot *slot = CONTAINER_OF(slot_node, struct pool_slot, link);
        LIST_EACH_SAFE (node, &slot->listed) {
            struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
            void (*retire)(struct upstream_conn *) = uc->retire;
            if (!all && pool_leads_on(uc))
                continue;
            pool_unlist(uc);
            retire(uc);
        }
    }
}
