// The note without the entry.
#include "fault.hpp"
CONCLAVE_FINGERPRINT_NOTE()
