// Its constructor throws: a good library whose instance cannot be made.
#include <stdexcept>

#include "fault.hpp"
using namespace conclave;
namespace {
class Throwing final : public fault::Constant {
 public:
  Throwing(HostContext& host, const fault::Options& options) : Constant(host, options) {
    throw std::runtime_error("the constructor does not feel like it");
  }
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<Throwing, fault::Options>(fault::info("scheduler/throwing-constructor"),
                                                           fault::table()))
