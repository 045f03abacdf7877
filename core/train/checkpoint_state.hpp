// Between the engine's storage and checkpoints: which tensor has which global name.
//
//   <piece>                     a master, or the part of it that the piece names
//   optimizer/<state>/<piece>   an optimizer state of the same shape
//   <buffer>                    a state buffer of the model
//
// Padding that no piece covers is never saved and comes back as 0. Values are written in the master's type, so a restore is
// bitwise. Every element is saved by the one rank that counts it (ParameterSlot::counted, FlatGroup::owned), and read by
// every rank that holds it, so a checkpoint fits any layout. Threading: the step thread, between updates.
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/status.hpp"
#include "train/buffer_storage.hpp"
#include "train/storage.hpp"

namespace conclave::train {

/// Appends views (or copies, where a piece is no plain box) of every tensor that this rank saves.
Status snapshot_tensors(const ParameterStorage& parameters, const std::vector<StageDescription>& chunks,
                        const std::vector<std::unique_ptr<BufferStorage>>& buffers, const Mesh& mesh,
                        Snapshot& snapshot);

/// Fills masters, states and state buffers, and publishes the masters. A tensor that is missing, has another shape, or has no
/// place in the model (on no rank) is an error that names it; the storage is then half filled and must not be used.
/// Collective; `groups` null: one rank.
Status restore_tensors(const CheckpointReader& reader, ParameterStorage& parameters,
                       const std::vector<StageDescription>& chunks,
                       const std::vector<std::unique_ptr<BufferStorage>>& buffers, Groups* groups, at::Device device);

} // namespace conclave::train
