/* report.c - the figures, a line each: a key with its unit, and a value. A key is printed only
 * where it was measured, so a zero is always a measured zero. */
#include "report.h"

#include "output.h"

#include <stdio.h>
#include <stdlib.h>

static void count(const char *key, uint64_t value) {
    printf("%s %llu\n", key, (unsigned long long)value);
}

static void figure(const char *key, double value) {
    printf("%s %.4f\n", key, value);
}

static void distribution(const char *what, const struct histogram *h) {
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    if (!h->count)
        return;
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        printf("%s_us_%s %.3f\n", what, quantiles[i].name,
               (double)histogram_quantile(h, quantiles[i].q) / 1000);
    printf("%s_us_max %.3f\n", what, (double)h->max / 1000);
}

/* The results of all processes together. */
static struct result *sum(const struct options *o, const struct shared *s) {
    struct result *all = aligned_alloc(64, sizeof *all);
    *all = s->results[0];
    for (unsigned i = 1; i < o->processes; i++) {
        const struct result *one = &s->results[i];
        all->delivered += one->delivered;
        all->sent += one->sent;
        all->sent_measured += one->sent_measured;
        all->delivered_measured += one->delivered_measured;
        all->pings_measured += one->pings_measured;
        all->bad += one->bad;
        all->unexpected += one->unexpected;
        all->lost += one->lost;
        all->closed += one->closed;
        if (one->opened_at > all->opened_at)
            all->opened_at = one->opened_at;
        histogram_merge(&all->latency, &one->latency);
        histogram_merge(&all->handshake, &one->handshake);
        histogram_merge(&all->round, &one->round);
    }
    return all;
}

/* --- parts --- */

static double used(const struct process_cpu *from, const struct process_cpu *to) {
    return (double)(to->total_ns - from->total_ns);
}

static double share(double ns, const struct usage *from, const struct usage *to) {
    return ns / (double)(to->at - from->at);
}

/* `things`: how many messages or connections; `what`: the word for one of them. */
static void server_cpu(const struct usage *from, const struct usage *to, uint64_t things,
                       const char *what) {
    double ns = used(&from->server, &to->server);
    double user = (double)(to->server.user - from->server.user);
    double system = (double)(to->server.system - from->server.system);
    double part = user + system > 0 ? user / (user + system) : 0.5;
    figure("server_cpu_share", share(ns, from, to));
    if (!things)
        return;
    double each = ns / 1000 / (double)things;
    printf("server_cpu_us_per_%s %.4f\n", what, each);
    printf("server_user_us_per_%s %.4f\n", what, each * part);
    printf("server_system_us_per_%s %.4f\n", what, each * (1 - part));
}

static void server_memory(const struct report *r, const struct options *o) {
    const struct process_memory *before = &r->memory_before, *after = &r->memory_after;
    count("server_memory_before_kib", before->pss_kib);
    count("server_memory_after_kib", after->pss_kib);
    count("server_rss_after_kib", after->rss_kib);
    count("server_private_after_kib", after->private_kib);
    figure("bytes_per_connection",
           ((double)after->pss_kib - (double)before->pss_kib) * 1024 / o->connections);
}

static void opening(const struct report *r, const struct options *o, const struct result *all) {
    double seconds = (double)(all->opened_at - r->opening.at) / NS_PER_S;
    figure("connections_per_s", o->connections / seconds);
    distribution("handshake", &all->handshake);
}

static void traffic(const struct report *r, const struct options *o, const struct result *all) {
    double seconds = (double)r->measured_ns / NS_PER_S;
    count("messages", all->sent_measured);
    count("deliveries", all->delivered_measured);
    figure("messages_per_s", (double)all->sent_measured / seconds);
    figure("deliveries_per_s", (double)all->delivered_measured / seconds);
    distribution("latency", &all->latency);
    distribution("round", &all->round);
}

static void recovered(const struct report *r, const struct result *all) {
    figure("recovered_s", (double)(all->opened_at - r->opening.at) / NS_PER_S);
    count("deliveries", all->delivered_measured);
    distribution("latency", &all->latency);
}

static void cpu(const struct report *r, const struct options *o, const struct result *all) {
    bool opens = o->mode >= MODE_BURST;
    const struct usage *from = opens ? &r->opening : &r->begin, *to = opens ? &r->opened : &r->end;
    figure("client_cpu_share", share(used(&from->client, &to->client), from, to));
    if (!o->pid_count)
        return;
    if (opens)
        server_cpu(from, to, o->connections, "connection");
    else
        server_cpu(from, to, all->delivered_measured, "message");
    server_memory(r, o);
}

static int check(const struct result *all) {
    count("lost", all->lost);
    count("short_payloads", all->bad);
    count("unexpected", all->unexpected);
    count("closed_connections", all->closed);
    if (!all->lost && !all->bad && !all->unexpected && !all->closed)
        return 0;
    fprintf(stderr,
            "bench_load: wrong deliveries: %llu lost, %llu of the wrong size or content, %llu "
            "unexpected, %llu connections closed\n",
            (unsigned long long)all->lost, (unsigned long long)all->bad,
            (unsigned long long)all->unexpected, (unsigned long long)all->closed);
    return 3;
}

int report_print(const struct report *r, const struct options *o, const struct shared *s) {
    struct result *all = sum(o, s);
    printf("mode %s\n", options_mode_names[o->mode]);
    count("connections", o->connections);
    count("processes", o->processes);
    count("sources", o->sources);
    count("size", o->size);
    opening(r, o, all);
    if (o->mode < MODE_BURST)
        figure("seconds", (double)r->measured_ns / NS_PER_S);
    if (o->mode < MODE_IDLE)
        traffic(r, o, all);
    if (o->mode == MODE_RECOVER)
        recovered(r, all);
    cpu(r, o, all);
    if (o->mode == MODE_IDLE)
        count("server_pings", all->pings_measured);
    distribution("probe", &s->probe);
    if (o->probe)
        figure("probe_late_us_max", (double)s->probe_late / 1000);
    int status = check(all);
    free(all);
    return status;
}
