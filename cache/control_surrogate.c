/* Surrogate-Control, §3 of the Edge Architecture Specification 1.0. */
#include "cache/control.h"

enum target { TARGET_ALL, TARGET_WEIR, TARGET_OTHER };

/* What stands behind the directive, which begins with a semicolon. */
static enum target target_of(struct slice parameters)
{
    struct slice name;
    enum target target = TARGET_ALL;
    while (slice_next(&parameters, ';', &name)) {
        if (slice_equal_nocase(name, S(CACHE_SURROGATE_NAME)))
            return TARGET_WEIR;
        target = TARGET_OTHER;
    }
    return target;
}

/* max-age=N+M: M is for cache_control_apply a directive of its own. */
static void apply_age(struct cache_directive d, struct cache_control *out)
{
    size_t plus = slice_find(d.argument, '+');
    struct cache_directive more = {S("stale-while-revalidate"), slice_skip(d.argument, plus + 1), true,
                                   d.is_sound};
    if (plus < d.argument.len)
        cache_control_apply(&more, out);
    d.argument.len = plus;
    cache_control_apply(&d, out);
}

int cache_control_parse_surrogate(const struct cache_lines *lines, struct cache_control *out)
{
    struct cache_control to_all, to_weir;
    bool any = false, is_broken = false;
    cache_control_init(&to_all);
    cache_control_init(&to_weir);
    for (uint32_t i = 0; i < lines->count; i++) {
        struct slice rest = lines->at[i], element;
        while (cache_control_next(&rest, &element, &is_broken)) {
            size_t end = slice_find(element, ';');
            enum target target = target_of(slice_skip(element, end));
            struct cache_directive d = cache_control_directive(slice_trim(slice_of(element.at, end)));
            struct cache_control *to = target == TARGET_WEIR ? &to_weir : &to_all;
            bool is_age = slice_equal_nocase(d.name, S("max-age"));
            if (target == TARGET_OTHER || !(is_age || slice_equal_nocase(d.name, S("no-store"))))
                continue;
            any = true;
            if (is_age)
                apply_age(d, to);
            else
                to->no_store = true;
        }
    }
    if (!any)
        return -1;
    *out = to_weir.max_age != CACHE_UNSET ? to_weir : to_all;
    out->no_store = to_all.no_store || to_weir.no_store;
    out->is_broken = is_broken;
    return 0;
}
