/* stop.h - how an instance stops, from the first signal to the end of the loops.
 *
 * The first SIGTERM or SIGINT begins these steps. All workers finish one before any begins the
 * next.
 *
 *  1. delay     (server.drain_delay) /readyz is red, HTTP answers end their connections; everything
 *               else goes on, new connections included, until load balancers have noticed.
 *               server.drain_timeout counts from its end.
 *  2. shutdown  The listeners close; handshakes and publishes over HTTP get 503.
 *               Timers of scripts end, on_shutdown runs and may still publish.
 *  3. settle    (bh_node_settle) Accepted publishes that local sockets receive by an echo come back
 *               from the broker and are delivered; then they are answered. At most a quarter of the
 *               time that is left; what has not come back is answered with 503.
 *  4. close     (bh_edge_drain) WebSockets close with 1001, many of them evenly over half of the
 *               time that is left; they receive messages until then. HTTP connections close when
 *               their request is answered.
 *  5. finish    Hooks that still run (on_close) and their publishes finish; background tasks do
 *               not count.
 *
 * The end of drain_timeout, or a second signal at any time, stops at once: connections are dropped,
 * requests in progress are answered with 503, and hooks are cancelled. Then the threads end, and
 * take_down in serve.c frees everything: the links to Redis close, and the lease ends, so the other
 * instances raise the offline events that are left. No step needs Redis: each ends without it, at
 * the latest with drain_timeout.
 *
 * Thread: the main thread. The steps are mailed to the workers. */
#ifndef BELLHOP_APP_STOP_H
#define BELLHOP_APP_STOP_H

struct bh_server;

void bh_server_stop_init(struct bh_server *s);
/* Begins with the steps. */
void bh_server_drain(struct bh_server *s);
/* At once. Harmless a second time. */
void bh_server_stop(struct bh_server *s);

#endif
