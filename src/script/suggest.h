#include "bellhop/base/suggest.h"
