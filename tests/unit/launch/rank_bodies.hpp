// What the ranks of the tests do: the bodies of the program launch_ranks. A body's failed EXPECT_ ends the program with 1.
#pragma once

#include <memory>
#include <string>

#include "conclave/mesh.hpp"
#include "launch/operation_board.hpp"
#include "launch/rendezvous.hpp"

namespace conclave::testing_launch {

using Body = int (*)(); ///< returns the exit code

struct RegisterBody {
  RegisterBody(const char* name, Body body);
};
#define RANK_BODY(name)                                                               \
  static int name();                                                                  \
  static const ::conclave::testing_launch::RegisterBody register_##name(#name, name); \
  static int name()

/// This process's settings, from the environment that the test made. Ends the program when they are wrong.
RendezvousSettings settings_here();
/// Joins; an error is printed and ends the program with its exit code.
std::unique_ptr<Rendezvous> join_here();
/// The mesh of TEST_TENSOR, TEST_PIPELINE and TEST_EXPERT (1 when unset).
Mesh mesh_here(const RankInfo& ranks);
std::string variable(const char* name, const char* otherwise);

} // namespace conclave::testing_launch
