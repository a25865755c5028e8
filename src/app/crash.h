/* crash.h - signals that end the process. Thread: main, before others start. */
#ifndef BELLHOP_SRC_APP_CRASH_H
#define BELLHOP_SRC_APP_CRASH_H

/* From now on a fault, an abort or a signal like SIGQUIT first writes the rest of the log, and then
 * does what it did before (a core dump, the report of a sanitizer). SIGUSR1, SIGUSR2, SIGPIPE and
 * SIGXFSZ (the log file has reached the limit of its size) do nothing. */
void bh_crash_set_up(void);

#endif
