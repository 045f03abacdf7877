// The line that moves while data is prepared.

#include "run/prepare_progress.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

TEST(ProgressText, HasABarAndTheTimeThatIsLeft) {
  EXPECT_EQ(progress_text("annotate", 1000, 4000, "documents", 5),
            "annotate [#####---------------]  25 %  1000 of 4000 documents, 15 s left");
  EXPECT_EQ(progress_text("read", 1'000'000'000, 4'000'000'000, "bytes", 3600),
            "read [#####---------------]  25 %  1 GB of 4 GB, 3 h 00 min left");
  EXPECT_EQ(progress_text("tokens", 1, 100, "documents", 4),
            "tokens [--------------------]   1 %  1 of 100 documents, 6 min 36 s left");
  EXPECT_EQ(progress_text("tokens", 1, 1000001, "documents", 1),
            "tokens [--------------------]   0 %  1 of 1000001 documents");
  EXPECT_EQ(progress_text("tokens", 9, 9, "documents", 100), "tokens [####################] 100 %  9 of 9 documents");
}

TEST(ProgressText, WithoutATotalThereIsNoBar) { EXPECT_EQ(progress_text("dedup", 7, 0, "keys", 100), "dedup 7 keys"); }

} // namespace
} // namespace conclave
