/* The process: its configuration, its workers, and what the kernel says of it. */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin/metrics.h"

static double count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    double count = 0;
    for (struct dirent *e; folder && (e = readdir(folder));)
        count += e->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count > 0 ? count - 1 : 0; /* its own */
}

/* In pages. */
static void read_memory(unsigned long *size, unsigned long *resident)
{
    *size = *resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", size, resident) != 2)
        *size = *resident = 0;
    if (f)
        fclose(f);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void kernel(struct metrics_run *r)
{
    struct metrics_writer *w = &r->w;
    struct rusage usage = {0};
    struct rlimit most = {0};
    unsigned long size, resident;
    double page = (double)sysconf(_SC_PAGESIZE);
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &most);
    read_memory(&size, &resident);
    metrics_single(w, METRICS_COUNTER, "process_cpu_seconds_total", "User and system time.",
                   seconds(usage.ru_utime) + seconds(usage.ru_stime));
    metrics_single(w, METRICS_GAUGE, "process_resident_memory_bytes", "Resident memory.",
                   (double)resident * page);
    metrics_single(w, METRICS_GAUGE, "process_virtual_memory_bytes", "Address space.", (double)size * page);
    metrics_single(w, METRICS_GAUGE, "process_open_fds", "Open descriptors.", count_descriptors());
    metrics_single(w, METRICS_GAUGE, "process_max_fds", "The most descriptors that may be open.",
                   (double)most.rlim_cur);
    metrics_single(w, METRICS_GAUGE, "process_start_time_seconds", "When it began, since the epoch.",
                   (double)r->runtime->started_wall_us / 1e6);
}

static void by_worker(struct metrics_run *r, enum metrics_type type, const char *name, const char *help,
                      size_t offset)
{
    metrics_family(&r->w, type, name, help);
    for (unsigned i = 0; i < r->runtime->worker_count; i++) {
        char number[16];
        const struct worker *worker = r->runtime->workers[i];
        snprintf(number, sizeof number, "%u", i);
        size_t none = metrics_label(&r->w, "worker", slice_text(number));
        uint64_t us = counter_get((const counter *)(const void *)((const char *)worker + offset));
        metrics_number(&r->w, name, (double)us / 1e6);
        metrics_cut(&r->w, none);
    }
}

static void workers(struct metrics_run *r)
{
    uint64_t in_flight = 0;
    for (unsigned i = 0; i < r->runtime->worker_count; i++)
        in_flight += counter_get(&r->runtime->workers[i]->exchange_count);
    metrics_single(&r->w, METRICS_GAUGE, "workers", "Event-loop threads.", r->runtime->worker_count);
    metrics_single(&r->w, METRICS_GAUGE, "requests_in_flight",
                   "Requests that are being answered, and weir's own for the cache.", (double)in_flight);
    by_worker(r, METRICS_COUNTER, "worker_cpu_seconds_total", "Time that the worker's thread was busy.",
              offsetof(struct worker, cpu_us));
    by_worker(r, METRICS_GAUGE, "worker_loop_lag_seconds",
              "How late the worker's loop came to a timer at most, of the last 15 to 30 seconds.",
              offsetof(struct worker, lag_us));
}

static void trials(struct metrics_run *r)
{
    struct metrics_writer *w = &r->w;
    const struct trial_watch *t = &r->runtime->trial;
    metrics_single(w, METRICS_GAUGE, "config_on_trial", "1 while the configuration is on trial.", t->on);
    metrics_family(w, METRICS_COUNTER, "config_trials_total", "Trials of configurations by how they ended.");
    for (unsigned i = 0; i < TRIAL_ENDS; i++) {
        size_t none = metrics_label(w, "result", slice_text(trial_end_text((enum trial_end)i)));
        metrics_count(w, "config_trials_total", t->ends[i]);
        metrics_cut(w, none);
    }
}

static void configuration(struct metrics_run *r)
{
    struct metrics_writer *w = &r->w;
    const struct runtime *rt = r->runtime;
    metrics_single(w, METRICS_COUNTER, "config_reloads_total",
                   "Configurations that were taken up after the first.", (double)rt->stats.reloads);
    metrics_single(w, METRICS_COUNTER, "config_reload_failures_total", "Reloads that were refused.",
                   (double)rt->stats.reload_failures);
    metrics_single(w, METRICS_GAUGE, "config_last_reload_successful", "0 when the last reload was refused.",
                   !rt->stats.reload_failed);
    trials(r);
    metrics_single(w, METRICS_COUNTER, "config_rollbacks_total",
                   "Configurations that were taken back, by hand and by trials.", (double)rt->rollbacks);
    metrics_single(w, METRICS_GAUGE, "config_generation", "The configuration's number, from 1.",
                   (double)rt->generation);
    const struct generation *newest = generations_newest(&r->runtime->generations);
    metrics_family(w, METRICS_GAUGE, "config_hash",
                   "Of the bytes of the configuration's files: equal where they are the same.");
    if (newest && newest->source) /* as many bits as a number of Prometheus holds exactly */
        metrics_count(w, "config_hash", config_source_hash(newest->source) >> 12);
    metrics_single(w, METRICS_GAUGE, "config_loaded_timestamp_seconds",
                   "When the configuration in use was read.", (double)rt->snapshot->loaded_at_us / 1e6);
}

static void admin_interface(struct metrics_run *r)
{
    static const char name[] = "admin_refused_total";
    metrics_family(&r->w, METRICS_COUNTER, name,
                   "Requests that the admin interface refused before it did anything, by reason.");
    for (unsigned i = 0; i < GUARD_REFUSALS; i++) {
        size_t none = metrics_label(&r->w, "reason", slice_text(guard_refusal_word((enum guard_refusal)i)));
        metrics_count(&r->w, name, r->admin->refused[i]);
        metrics_cut(&r->w, none);
    }
}

bool metrics_process(struct metrics_run *r)
{
    struct metrics_writer *w = &r->w;
    struct runtime *rt = r->runtime;
    metrics_family(w, METRICS_GAUGE, "build_info", "1; what runs.");
    size_t none = metrics_label(w, "version", S(WEIR_VERSION));
    metrics_label(w, "build", S(WEIR_BUILD));
    metrics_count(w, "build_info", 1);
    metrics_cut(w, none);
    metrics_single(w, METRICS_GAUGE, "uptime_seconds", "Since the process began to serve.",
                   (double)(loop_now_us(&rt->control) - rt->started_us) / 1e6);
    metrics_single(w, METRICS_GAUGE, "draining", "1 while the process is about to stop.",
                   rt->state != RUNTIME_SERVING);
    workers(r);
    configuration(r);
    metrics_single(w, METRICS_COUNTER, "log_lines_lost_total", "Log lines that an output did not take.",
                   (double)writer_lost(rt->writer));
    admin_interface(r);
    kernel(r);
    return false;
}
