// Records: a WARC archive's records (ISO 28500), whatever is damaged among them.
//
// Threading: one thread at a time per object.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "members.hpp"

namespace conclave::warc {

struct Record {
  std::int64_t member = 0;   ///< where its gzip member begins in the file; 0 in a plain file
  std::int64_t position = 0; ///< where it begins within that, before compression
  std::string type, target_uri, content_type, payload_type, language; ///< header fields; empty: not there
  std::string_view body;                                              ///< valid until the next call
};

class Records {
 public:
  /// Told of each record that is passed over, with its place as in Record, and why.
  using Report = std::function<void(std::int64_t member, std::int64_t position, const std::string& why)>;

  Records(std::unique_ptr<Members> members, std::size_t max_body, Report report)
      : members_(std::move(members)), max_body_(max_body), report_(std::move(report)) {}

  /// The next whole record; false at the end. One with a damaged member, a header that is none, a length that does not fit
  /// or a body above max_body is reported and passed over. A record that is alone in its member, as the standard wants it,
  /// is given only after the member's checksum fitted. Memory: about twice max_body.
  Result<bool> next(Record& out);

 private:
  Result<bool> fill(std::size_t count);
  Status pass(std::int64_t count);
  Status find_record(std::size_t from);
  [[nodiscard]] std::string_view ahead() const noexcept { return std::string_view(buffer_).substr(at_); }
  void report(const std::string& why) { report_(members_->offset(), position_, why); }

  std::unique_ptr<Members> members_;
  std::size_t max_body_;
  Report report_;
  std::string buffer_; ///< of the present member; what lies before at_ is done with
  std::size_t at_ = 0;
  std::int64_t position_ = 0; ///< of at_ in the member
  bool inside_ = false, ended_ = false;
};

} // namespace conclave::warc
