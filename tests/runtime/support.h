// What tests of whole programs share.
#pragma once

#include <string>
#include <vector>

#include "resnet/graph.h"

namespace resnet {

/// Momentum SGD on all that the graph trains, with an input "lr". Outputs "loss" and, if wanted,
/// every gradient as "d." and its weight's name.
inline void add_sgd(Graph& g, Value loss, const UpdateAttributes& attributes,
                    bool gradients_too = false) {
  const Value lr = g.input("lr", {1});
  const std::vector<Value> w = g.trainable();
  const std::vector<Value> d = gradients(g, loss, w);
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (!d[i]) continue;  // the loss does not depend on it
    const std::string name = g.node(w[i]).name;
    const Value v = g.parameter("momentum." + name, g.shape(w[i]), {.role = Role::kOptimizer});
    g.append(Op::kSgd, name, {w[i], v, d[i], lr}, attributes);
    if (gradients_too) g.mark_output("d." + name, d[i]);
  }
  g.mark_output("loss", loss);
}

}  // namespace resnet
