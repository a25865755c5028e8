/* json_session.h - a connection with format=json: what goes to the client is JSON that says of
 * which topic it is, and where the client is in its streams.
 *
 *     {"recovered":true,"id":"1...."}             the first frame: nothing is missing (or it is)
 *     {"topic":"user:42","id":"1....","data":...} a message; without id if it is of no stream
 *     {"id":"1...."}                              the position has moved without a message
 *     {"gap":"user:42","id":"1....","reason":...} messages are missing
 *     {"rewound":"user:42","id":"1...."}          messages may come twice, or Redis has lost some
 *     {"data":...}                                from the policy to this client (conn:send)
 *
 * Of several gaps and rewinds in a row only the last one has the id. data is the message as it is
 * if it is JSON. Other text is a string beside "encoding":"text", binary one in base64 beside
 * "encoding":"base64". Frames from the client are as without format=json. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_JSON_SESSION_H
#define BELLHOP_EDGE_WS_JSON_SESSION_H

#include "ws/ws_conn.h"

/* For struct bh_subscriber_vt. */
int bh_json_session_deliver(struct bh_subscriber *s, struct bh_message *m);
int bh_json_session_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data);
void bh_json_session_recovered(struct bh_subscriber *s, bool complete);
void bh_json_session_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why);
void bh_json_session_rewound(struct bh_subscriber *s, struct bh_slice topic);
size_t bh_json_session_room(const struct bh_subscriber *s);
void bh_json_session_refused(struct bh_subscriber *s, struct bh_slice topic, int status,
                             struct bh_slice why);

/* There may be room for what has to be told. */
void bh_json_session_catch_up(struct bh_ws_conn *ws);
/* The time for a heartbeat, of which nothing comes if nothing has moved. */
#define BH_JSON_HEARTBEAT_MS 25000
void bh_json_session_heartbeat(struct bh_ws_conn *ws);

/* bh_text_render */
void bh_json_session_render(const struct bh_message *m, bool id, struct bh_bytes *before,
                            struct bh_bytes *after);

#endif
