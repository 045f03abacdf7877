// Between the engine's storage and checkpoints: which tensor has which global name.
//
//   <piece>                     a master, or the part of it that the piece names
//   optimizer/<state>/<piece>   an optimizer state of the same shape
//   <buffer>                    a state buffer of the model
//
// Padding that no piece covers is never saved and comes back as 0. Values are written in the master's type, so a restore is
// bitwise. Threading: the step thread, between updates.
#pragma once

#include "checkpoint/store.hpp"
#include "conclave/status.hpp"
#include "train/storage.hpp"

namespace conclave::train {

/// Appends views (or copies, where a piece is no plain box) of every tensor to keep.
void snapshot_tensors(const ParameterStorage& parameters, const StageDescription& description,
                      const BufferStorage& buffers, Snapshot& snapshot);

/// Fills masters, states and state buffers, and refreshes the compute copies. A tensor that is missing, has another shape,
/// or has no place in this model is an error that names it; the storage is then half filled and must not be used.
Status restore_tensors(const CheckpointReader& reader, ParameterStorage& parameters,
                       const StageDescription& description, const BufferStorage& buffers);

} // namespace conclave::train
