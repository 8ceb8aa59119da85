#include "models/residual.h"

#include <charconv>
#include <string>

#include "core/check.h"

namespace resnet {
namespace {

struct BlockLayer {
  std::int64_t filters, kernel, stride;
};

// The convolutions that one skip jumps over.
std::vector<BlockLayer> block_layers(const ResidualBody& body, const ModelConfig& config, int count,
                                     std::int64_t filters, std::int64_t stride) {
  if (body.bottleneck) {
    const bool first = config.stride_on_first_1x1;
    return {
        {filters, 1, first ? stride : 1}, {filters, 3, first ? 1 : stride}, {4 * filters, 1, 1}};
  }
  std::vector<BlockLayer> layers(static_cast<std::size_t>(count), {filters, 3, 1});
  layers.front().stride = stride;
  return layers;
}

class BlockBuilder {
 public:
  BlockBuilder(Graph& graph, const ModelConfig& config, const ResidualBody& body, Shortcut shortcut)
      : g_(graph),
        zero_gamma_(config.zero_gamma),
        v2_(body.preactivation),
        pooled_shortcut_(body.pooled_shortcut),
        shortcut_(shortcut),
        padding_(padding_of(config)) {}

  // x [n, c, h, w] -> [n, layers.back().filters, h / stride, w / stride]
  Value add(const std::string& name, const std::vector<BlockLayer>& layers, Value x) {
    g_.set_scope(name);
    const Value y = v2_ ? preactivation(name, layers, x) : postactivation(name, layers, x);
    g_.set_scope("");
    return y;
  }

 private:
  // relu(F(x) + shortcut(x)); F ends in batch norm.
  Value postactivation(const std::string& name, const std::vector<BlockLayer>& layers, Value x) {
    Value y = x;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const bool last = i + 1 == layers.size();
      y = conv(name, i, layers[i], y);
      y = g_.batch_norm(fmt::format("{}.bn{}", name, i + 1), y,
                        {.zero_gamma = last && zero_gamma_});
      if (!last) y = g_.relu(y);
    }
    if (shortcut_ != Shortcut::kNone) y = g_.add(y, shortcut(name, layers, x, x));
    return g_.relu(y);
  }

  // F(x) + shortcut(x); F begins with batch norm and ReLU. A projection reads what they make of x,
  // an identity carries x itself (He et al. 2016b, section 3 and their code).
  Value preactivation(const std::string& name, const std::vector<BlockLayer>& layers, Value x) {
    Value y = x;
    Value activated;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      y = g_.relu(g_.batch_norm(fmt::format("{}.bn{}", name, i + 1), y));
      if (i == 0) activated = y;
      y = conv(name, i, layers[i], y);
    }
    if (shortcut_ != Shortcut::kNone) y = g_.add(y, shortcut(name, layers, x, activated));
    return y;
  }

  Value conv(const std::string& name, std::size_t i, const BlockLayer& layer, Value x) {
    return g_.conv2d(fmt::format("{}.conv{}", name, i + 1), x,
                     {.filters = layer.filters,
                      .kernel = layer.kernel,
                      .stride = layer.stride,
                      .padding = padding_});
  }

  Value shortcut(const std::string& name, const std::vector<BlockLayer>& layers, Value x,
                 Value projected) {
    std::int64_t stride = 1;
    for (const BlockLayer& layer : layers) stride *= layer.stride;
    const std::int64_t filters = layers.back().filters;
    const bool same_shape = stride == 1 && g_.shape(x)[1] == filters;
    if (same_shape && shortcut_ != Shortcut::kC) return x;
    if (shortcut_ == Shortcut::kA) return g_.pad_shortcut(x, filters, stride);
    int part = 0;  // torchvision and timm number the layers of the shortcut, the pool included
    if (pooled_shortcut_) {
      ++part;
      if (stride > 1) {
        projected = g_.avg_pool(projected, {.kernel = stride,
                                            .stride = stride,
                                            .padding = Padding::kSame,
                                            .count_padding = false});
        stride = 1;
      }
    }
    const auto layer = [&] { return fmt::format("{}.downsample.{}", name, part++); };
    const Value y =
        g_.conv2d(layer(), projected, {.filters = filters, .kernel = 1, .stride = stride});
    return v2_ ? y : g_.batch_norm(layer(), y);
  }

  Graph& g_;
  const bool zero_gamma_;
  const bool v2_;
  const bool pooled_shortcut_;
  const Shortcut shortcut_;
  const Padding padding_;
};

// How many layers each skip jumps over, after checking that this fits every stage.
int layers_per_skip(const ModelConfig& config, const ResidualBody& body) {
  const int own = body.bottleneck ? 3 : 2;
  const int wanted = config.layers_per_skip == 0 ? own : config.layers_per_skip;
  if (wanted == own) return own;
  if (body.bottleneck) {
    fail(
        ErrorCode::kInvalidArgument,
        "{}: skips over {} layers are not possible, its bottleneck blocks have 3; use a network of "
        "basic blocks such as resnet18 or resnet20",
        config.architecture, wanted);
  }
  for (std::size_t i = 0; i < body.stages.size(); ++i) {
    const std::int64_t layers = own * body.stages[i].blocks;
    if (wanted < 0 || layers % wanted != 0) {
      fail(ErrorCode::kInvalidArgument,
           "{}: skips over {} layers do not divide the {} layers of stage {}; the number of layers "
           "per skip must divide every stage's (1 and 2 always do)",
           config.architecture, wanted, layers, i + 1);
    }
  }
  return wanted;
}

}  // namespace

std::optional<ResidualName> parse_residual_name(std::string_view name) {
  constexpr std::string_view kPrefix = "resnet";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  ResidualName result;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), result.layers);
  const auto digits = static_cast<std::size_t>(end - name.data());
  // One spelling a network: no leading zero or sign.
  if (error != std::errc{} || digits > 4 || name.front() < '1' || name.front() > '9') {
    return std::nullopt;
  }
  name.remove_prefix(digits);
  if (name.starts_with("v2")) {
    result.v2 = true;
    name.remove_prefix(2);
  }
  result.suffix = name;
  return result;
}

std::optional<ResidualBody> imagenet_body(int layers) {
  const auto body = [](bool bottleneck, std::int64_t a, std::int64_t b, std::int64_t c,
                       std::int64_t d) {
    return ResidualBody{.bottleneck = bottleneck,
                        .stages = {{64, a, 1}, {128, b, 2}, {256, c, 2}, {512, d, 2}}};
  };
  switch (layers) {
    case 18: return body(false, 2, 2, 2, 2);
    case 34: return body(false, 3, 4, 6, 3);
    case 50: return body(true, 3, 4, 6, 3);
    case 101: return body(true, 3, 4, 23, 3);
    case 152: return body(true, 3, 8, 36, 3);
    case 200: return body(true, 3, 24, 36, 3);
    default: return std::nullopt;
  }
}

Value add_residual_body(Graph& graph, NetworkParts& parts, const ModelConfig& config,
                        const ResidualBody& body, Value x) {
  const Shortcut shortcut = config.shortcut == Shortcut::kDefault ? body.shortcut : config.shortcut;
  const int skip = layers_per_skip(config, body);
  // Such a block would stay dead: γ = β = 0 before a ReLU leaves it without any gradient.
  if (config.zero_gamma && (body.preactivation || shortcut == Shortcut::kNone)) {
    fail(
        ErrorCode::kInvalidArgument,
        "{}: zero_gamma needs blocks with a skip that end in batch norm; leave it out, or use a v1 "
        "network with skips",
        config.architecture);
  }
  BlockBuilder block(graph, config, body, shortcut);
  for (std::size_t s = 0; s < body.stages.size(); ++s) {
    const ResidualStage& stage = body.stages[s];
    const std::string name = fmt::format("layer{}", s + 1);
    const auto open = parts.stage(name);
    const std::int64_t blocks = body.bottleneck ? stage.blocks : 2 * stage.blocks / skip;
    for (std::int64_t i = 0; i < blocks; ++i) {
      x = block.add(fmt::format("{}.{}", name, i),
                    block_layers(body, config, skip, stage.filters, i == 0 ? stage.stride : 1), x);
    }
  }
  return x;
}

}  // namespace resnet
