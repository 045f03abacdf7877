// Tests of tokenizer/bytes.

#include <gtest/gtest.h>
