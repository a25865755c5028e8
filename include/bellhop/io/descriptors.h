/* descriptors.h - file descriptors are limited, and some are kept for what has to work when the
 * others are in use.
 *
 * Descriptors get the lowest free number, so one with a high number tells that nearly all are in
 * use: the last ones are the reserve. Listeners keep accepting then, and their owners decide what
 * they still serve. Thread: any, unless said otherwise. */
#ifndef BELLHOP_IO_DESCRIPTORS_H
#define BELLHOP_IO_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>

/* Raises the limit of the process as far as it may and keeps a reserve of `count`, at most an
 * eighth of all. Once, before there are threads. Without this call there is no reserve. */
void bh_descriptors_init(size_t count);
/* True when fd, which was opened just now, is one of the reserve. */
bool bh_descriptor_is_reserve(int fd);

#endif
