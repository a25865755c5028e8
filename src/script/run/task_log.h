/* task_log.h - what the log says about a task: its hook, timer, endpoint or background function,
 * the place where its function begins, and what was wrong. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_TASK_LOG_H
#define BELLHOP_SCRIPT_TASK_LOG_H

#include "run/sched.h"

/* What is valid and probably not meant. */
enum bh_slip {
    BH_SLIP_NO_USER,      /* an identity without user and without `anonymous` */
    BH_SLIP_USER_REFUSED, /* the same with script.require_user */
    BH_SLIP_NO_IDENTITY,  /* on_handshake returned nil */
    BH_SLIP_NO_ANSWER,    /* on_message returned nil */
    BH_SLIP_NO_RESPONSE,  /* an endpoint returned no value */
    BH_SLIP_COUNT
};

/* Logs and counts an error of the hook, such as a result of the wrong type. */
void bh_task_log_error(struct bh_task *t, const char *error);
/* Clients can cause slips, so each has one line for each generation of the scripts. */
void bh_task_log_slip(const struct bh_task *t, enum bh_slip slip);

#endif
