/* refuse.h - an error text of the configuration. Any thread. */
#ifndef BELLHOP_SRC_APP_REFUSE_H
#define BELLHOP_SRC_APP_REFUSE_H

/* Stores the text in *error (bh_free). Returns BH_EINVAL. */
int bh_app_refuse(char **error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
