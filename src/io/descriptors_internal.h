/* descriptors_internal.h - descriptors for listeners when the process, or the machine, has none
 * left. Thread: any. Private to src/io. */
#ifndef BELLHOP_SRC_IO_DESCRIPTORS_INTERNAL_H
#define BELLHOP_SRC_IO_DESCRIPTORS_INTERNAL_H

#include "bellhop/io/descriptors.h"

/* Closes a spare one, so that the caller can open another. False: none is left. */
bool bh_descriptors_lend(void);
/* Opens again what was lent, as far as possible. */
void bh_descriptors_restore(void);

#endif
