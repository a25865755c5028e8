/* edge_client.h - clients of the instance under test, on real loopback sockets. While one waits,
 * the instance's loop runs. */
#ifndef BELLHOP_TESTS_UNIT_EDGE_CLIENT_H
#define BELLHOP_TESTS_UNIT_EDGE_CLIENT_H

#include "edge_test.h"

struct client {
    struct test *test;
    int fd;
    struct bh_bytes got;
    bool ended, broken;
};

#define UPGRADE(target)                                                                            \
    "GET " target " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"          \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

int64_t count_of(enum bh_edge_metric metric);
void dial_with(struct test *t, struct client *c, int receive_buffer);
void dial(struct test *t, struct client *c);
/* Closes, and waits until the server has closed, too. */
void hang_up(struct client *c);
/* The same without waiting, for connections that are not counted; `listener` as in bh_edge_address.
 */
void connect_only(struct test *t, struct client *c, size_t listener);
void let_go(struct client *c);
/* Returns when the server's kernel has the bytes, or takes no more. */
void send_bytes(struct client *c, struct bh_slice bytes);
void send_text(struct client *c, const char *text);
/* Appends what has arrived to `got`, followed by a NUL. */
void receive(struct client *c);
void expect_text(struct client *c, const char *text);
void expect_end(struct client *c);
void expect_nothing(struct client *c);
void assert_has(const char *text, const char *part);
int times(const char *text, const char *part);
/* The length of the first response in `got`, and its body; 0 while it is incomplete. */
size_t whole_response(const struct client *c, struct bh_slice *body);
bool has_response(struct client *c);
/* Waits for the next response; its status. The body is copied, followed by a NUL. */
int take_response(struct client *c, struct bh_bytes *out);
void add_frame_raw(struct bh_bytes *out, uint8_t first, struct bh_slice payload);
void send_frame(struct client *c, uint8_t first, struct bh_slice payload);
/* The length of the first frame in `got`, and its payload; 0 while it is incomplete. */
size_t whole_frame(const struct client *c, struct bh_slice *payload);
bool has_frame(struct client *c);
/* Waits for the next frame; its opcode, or -1 at the end of the connection. The payload is copied,
 * followed by a NUL. */
int take_frame(struct client *c, struct bh_bytes *out);
void expect_frame(struct client *c, int opcode, struct bh_slice payload);
void expect_close(struct client *c, unsigned code, const char *reason);
void send_close(struct client *c, unsigned code);
void expect_101(struct client *c);
void open_ws(struct test *t, struct client *c);
/* The same in two steps: with more headers and a receive buffer (0: the default), and with the
 * extension that the answer must name (NULL: none). */
void upgrade(struct test *t, struct client *c, const char *headers, int receive_buffer);
void expect_open(struct client *c, const char *extension);

#endif
