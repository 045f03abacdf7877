// Tests of tokenizer/sentencepiece.

#include <gtest/gtest.h>
